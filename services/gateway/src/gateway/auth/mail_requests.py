"""Asking for a mail by address: what both ways (magic link, password reset) have in common (contract §5.3, §16.1).

The answer and the work are the same for every address; who it belongs to is looked up when the mail is written.
"""

import re
from abc import ABC, abstractmethod
from typing import Annotated

from fastapi import Request, Response
from pydantic import StringConstraints

from gateway.exact_bodies import ExactRoute, Handler
from gateway.settings import GatewaySettings
from gateway.wire import Wire
from polaris_common.http.errors import ApiError

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
MAX_EMAIL_LENGTH = 320


class InvalidJson(ApiError):
    """The body is no JSON."""

    status, code, message = 400, "invalid_json", "The body is not JSON."


class EmailRequired(ApiError):
    """There is no address."""

    status, code, message = 400, "email_required", "Give an e-mail address."


class InvalidEmail(ApiError):
    """The address is none."""

    status, code, message = 400, "invalid_email", "This is not an e-mail address."


class MailRequestRoute(ExactRoute, ABC):
    """Refuses bodies as the contract says; that mail cannot be sent is said first of all."""

    refusals = {"email": EmailRequired}  # noqa: RUF012 - never changed
    not_json = InvalidJson

    def get_route_handler(self) -> Handler:
        """As ``ExactRoute``'s, behind ``require_mail``."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            self.require_mail(request.app.state.resources.settings)
            return await handle(request)

        return guarded

    @abstractmethod
    def require_mail(self, settings: GatewaySettings) -> None:
        """Pass where this kind of mail is sent; raises an ``ApiError`` elsewhere."""


class MailRequest(Wire):
    """Who wants a mail; unknown keys are ignored."""

    email: Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True)]

    def address(self) -> str:
        """The address in lower case.

        Raises:
            InvalidEmail: it is none.
        """
        if len(self.email) > MAX_EMAIL_LENGTH or _EMAIL.fullmatch(self.email) is None:
            raise InvalidEmail
        return self.email


class MailRequested(Wire):
    """The same for everybody."""

    status: str = "ok"
