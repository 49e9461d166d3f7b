"""Errors as clients see them: always ``{"error": code, "message": sentence, "issues"?: [...], "requestId": id}``."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polaris_common.db.outages import is_outage
from polaris_common.http.request_id import current_request_id

log = structlog.get_logger(__name__)

_FRAMEWORK_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}


class ApiError(Exception):
    """An error with a code for programs, a status and a sentence for people."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    message: ClassVar[str] = "Something went wrong on our side."

    def __init__(
        self,
        message: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """``fields``: what the body says besides, where the contract names it."""
        super().__init__(message or self.message)
        self.headers = dict(headers or {})
        self.fields = dict(fields or {})


class Unauthorized(ApiError):
    """Nobody is signed in, or the credential is wrong."""

    status, code, message = 401, "unauthorized", "Sign in first."


class Forbidden(ApiError):
    """The caller is known and may not do this."""

    status, code, message = 403, "forbidden", "You may not do this."


class NotFound(ApiError):
    """There is no such thing, or it is not the caller's to know."""

    status, code, message = 404, "not_found", "There is nothing here."


class BodyTooLarge(ApiError):
    """The request body exceeds the route's limit."""

    status, code, message = 413, "body_too_large", "The request is too large."


class ServiceUnavailable(ApiError):
    """Something we need is away; trying again later helps."""

    status, code, message = 503, "unavailable", "The service is not available right now. Try again in a moment."


class Issue(BaseModel):
    """One problem with the input: where and what."""

    path: str
    message: str


class ErrorBody(BaseModel):
    """The body of every error answer."""

    error: str
    message: str
    issues: list[Issue] | None = None
    requestId: str  # noqa: N815 - the wire's spelling


def error_response(
    status: int,
    code: str,
    message: str,
    *,
    issues: list[Issue] | None = None,
    headers: Mapping[str, str] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """The JSON answer for one error."""
    body = ErrorBody(error=code, message=message, issues=issues, requestId=current_request_id())
    content = {**(fields or {}), **body.model_dump(exclude_none=True)}
    return JSONResponse(content, status_code=status, headers=dict(headers or {}))


def errors(*kinds: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """The ``responses=`` of a route that can raise ``kinds``, for the OpenAPI document."""
    documented: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        codes = documented.setdefault(kind.status, {"model": ErrorBody, "description": ""})
        codes["description"] = ", ".join(filter(None, [codes["description"], f"`{kind.code}`"]))
    return documented


def install_error_handlers(app: FastAPI) -> None:
    """Answer every expected error, the framework's own too, in the one shape."""

    @app.exception_handler(ApiError)
    async def _known(_: Request, error: ApiError) -> JSONResponse:
        return error_response(error.status, error.code, str(error), headers=error.headers, fields=error.fields)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        issues = [_issue(problem) for problem in error.errors()]
        return error_response(422, "invalid_request", "Some of the input is not usable.", issues=issues)

    @app.exception_handler(HTTPException)
    async def _framework(_: Request, error: HTTPException) -> JSONResponse:
        code = _FRAMEWORK_CODES.get(error.status_code, f"http_{error.status_code}")
        phrase = HTTPStatus(error.status_code).phrase
        return error_response(error.status_code, code, f"{phrase}.", headers=error.headers)


class LastResortMiddleware:
    """Answers what no handler expected: 503 while the database is away, 500 otherwise, in the one shape.

    It sits inside the request id and the security headers, so these answers carry both too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_noting_start)
        except Exception as error:
            if started:
                raise
            await _last_resort(error)(scope, receive, send)


def _last_resort(error: Exception) -> JSONResponse:
    if is_outage(error):
        log.warning("database_unreachable", error=type(error).__name__)
        return error_response(ServiceUnavailable.status, ServiceUnavailable.code, ServiceUnavailable.message)
    log.error("unhandled_error", exc_info=error)
    return error_response(ApiError.status, ApiError.code, ApiError.message)


def _issue(problem: Mapping[str, Any]) -> Issue:
    where = [str(part) for part in problem["loc"] if part not in ("body", "query", "path", "header")]
    return Issue(path=".".join(where), message=problem["msg"].removeprefix("Value error, "))
