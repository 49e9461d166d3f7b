"""Routes whose refusals are exact to the letter: apps in people's hands decide by them (contract-devices, "exact").

Everywhere else an unusable body is 422 ``invalid_request``; here it is 400 with the code that the contract names.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, ClassVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import StringConstraints

from polaris_common.http.errors import ApiError

NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


_STORABLE = r"^[^\x00]*$"
"""What PostgreSQL can keep as text."""

Text40 = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=_STORABLE)]
Text80 = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=_STORABLE)]
Text120 = Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=_STORABLE)]


class InvalidBody(ApiError):
    """The body is not what the route takes."""

    status, code, message = 400, "invalid_body", "The body does not have the expected form."


class ExactRoute(APIRoute):
    """Answers an unusable body as ``refusal_of`` says."""

    refusals: ClassVar[Mapping[str, type[ApiError]]] = {}
    """The error for each top-level field that has one of its own; the first of these that is wrong decides."""
    not_json: ClassVar[type[ApiError]] = InvalidBody

    def get_route_handler(self) -> Handler:
        """As FastAPI's, with our refusals."""
        handle = super().get_route_handler()

        async def exact(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as problem:
                raise self._refusal(problem) from None

        return exact

    def _refusal(self, problem: RequestValidationError) -> ApiError:
        if any(error["type"] == "json_invalid" for error in problem.errors()):
            return self.not_json()
        wrong = {str(error["loc"][1]) for error in problem.errors() if len(error["loc"]) > 1}
        for field, refusal in self.refusals.items():
            if field in wrong:
                return refusal()
        issues = [
            {"path": ".".join(str(part) for part in error["loc"][1:]), "message": error["msg"]}
            for error in problem.errors()
        ]
        return InvalidBody(fields={"issues": issues})


class SecretRoute(ExactRoute):
    """As ``ExactRoute``; no answer of it, refusals included, may be kept by anybody on the way."""

    def get_route_handler(self) -> Handler:
        """As ``ExactRoute``'s, never cached."""
        handle = super().get_route_handler()

        async def unstored(request: Request) -> Response:
            try:
                response = await handle(request)
            except ApiError as error:
                error.headers |= NO_STORE
                raise
            response.headers.update(NO_STORE)
            return response

        return unstored
