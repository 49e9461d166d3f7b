"""Signing in with an identity provider, on the wire (contract §5.7)."""

from typing import Annotated

from pydantic import Field

from gateway.auth.schemas import CallbackUrl
from gateway.wire import Wire


class OidcStart(Wire):
    """Which provider, and where to return to; unknown keys are ignored."""

    provider_id: Annotated[str, Field(max_length=64)]
    callback_url: CallbackUrl = None
    error_callback_url: Annotated[str | None, Field(alias="errorCallbackURL", max_length=2000)] = None


class OidcStarted(Wire):
    """Where the browser has to go."""

    url: str
    redirect: bool = True
