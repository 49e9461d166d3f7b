"""Signing in, signing out, and who is signed in."""

import json
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from gateway.auth import service
from gateway.auth.schemas import SessionAndUserRead, SignInEmail, SignInRead, SignOutRead, UserRead
from gateway.auth.service import Caller, InvalidEmailOrPassword
from gateway.dependencies import CurrentSession, CurrentSurface, Process, SessionToken, UnitOfWork
from gateway.settings import GatewaySettings
from gateway.surfaces import OriginMismatch
from polaris_common.http.errors import BodyTooLarge, errors
from polaris_common.identity.sessions import close_session, cookie_name

router = APIRouter(prefix="/api/auth", tags=["sign-in"])

MAX_FORM_BYTES = 16 * 1024
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


@router.post("/sign-in/email", responses=errors(InvalidEmailOrPassword, OriginMismatch, BodyTooLarge))
async def sign_in_email(request: Request, response: Response, process: Process, surface: CurrentSurface) -> SignInRead:
    """Sign in with e-mail address and password, as JSON or as a form. The token goes into an HttpOnly cookie only."""
    form = await _form(request)
    opened = await service.sign_in(process.database, process.settings, form, _caller(request, surface))
    _set_cookie(response, process.settings, opened.token, max_age=opened.max_age_seconds)
    return SignInRead(user=UserRead.of(opened.user))


@router.post("/sign-out", responses=errors(OriginMismatch))
async def sign_out(response: Response, process: Process, token: SessionToken, uow: UnitOfWork) -> SignOutRead:
    """End the session; safe without one."""
    if token:
        await close_session(uow, token)
    _set_cookie(response, process.settings, "", max_age=0)
    return SignOutRead()


@router.get("/get-session")
async def get_session(response: Response, session: CurrentSession) -> SessionAndUserRead | None:
    """Who is signed in, or null."""
    response.headers["cache-control"] = "no-store"
    return None if session is None else SessionAndUserRead.of(session)


def _caller(request: Request, surface: CurrentSurface) -> Caller:
    user_agent = request.headers.get("user-agent")
    return Caller(
        surface=surface,
        ip_address=request.client.host if request.client else None,
        user_agent=user_agent[:500] if user_agent else None,
    )


def _set_cookie(response: Response, settings: GatewaySettings, token: str, *, max_age: int | None) -> None:
    response.set_cookie(
        cookie_name(secure=settings.secure_cookies),
        token,
        max_age=max_age,
        domain=settings.cookie_domain,
        path="/",
        secure=settings.secure_cookies,
        httponly=True,
        samesite="lax",
    )


async def _form(request: Request) -> SignInEmail:
    try:
        return SignInEmail.model_validate(await _fields(request))
    except ValidationError as problem:
        raise RequestValidationError(problem.errors(include_input=False, include_context=False)) from None


async def _fields(request: Request) -> Any:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            raise BodyTooLarge
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in _FORM_TYPES:
        return dict(await Request(request.scope, _replay(body)).form())
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError):
        raise RequestValidationError([{"loc": ("body",), "msg": "The body is not JSON.", "type": "json"}]) from None


def _replay(body: bytes) -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
