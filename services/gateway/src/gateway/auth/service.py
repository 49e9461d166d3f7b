"""Signing in with a password."""

from dataclasses import dataclass
from datetime import timedelta

import structlog

from gateway.auth.repository import credential_of
from gateway.auth.schemas import SignInEmail
from gateway.settings import GatewaySettings
from gateway.surfaces import Surface
from polaris_common.db import Database
from polaris_common.http.errors import ApiError
from polaris_common.identity.passwords import verify_password
from polaris_common.identity.sessions import SESSION_LIFETIME, open_session
from polaris_common.models import Role, User

FORGETFUL_LIFETIME = timedelta(days=1)
"""How long a session lives at most when the browser is not to remember it."""

_ROLE_ON = {Surface.ADMIN: Role.ADMIN, Surface.CUSTOMER: Role.CUSTOMER}

log = structlog.get_logger(__name__)


class InvalidEmailOrPassword(ApiError):
    """One answer for every reason, so that nobody learns who has an account."""

    status, code, message = 401, "invalid_email_or_password", "The e-mail address or the password is wrong."


@dataclass(frozen=True)
class Caller:
    """Where a sign-in comes from."""

    surface: Surface | None
    ip_address: str | None
    user_agent: str | None


@dataclass(frozen=True)
class OpenedSession:
    """A new session: the cookie's token, and how long the browser keeps it (None: until it is closed)."""

    user: User
    token: str
    max_age_seconds: int | None


async def sign_in(database: Database, settings: GatewaySettings, form: SignInEmail, caller: Caller) -> OpenedSession:
    """Open a session for whoever ``form`` proves to be.

    Drivers sign in on the customer surface, operators on the admin surface.

    Raises:
        InvalidEmailOrPassword: unknown address, no password, wrong password or wrong surface.
    """
    async with database.unit_of_work() as uow:
        credential = await credential_of(uow, form.email)
    # Checked outside of any transaction, for everybody alike: it takes a tenth of a second.
    proven = await verify_password(form.password, credential.password_hash if credential else None)
    if credential is None or not proven or not _belongs_on(caller.surface, credential.user):
        log.warning("sign_in_refused", surface=caller.surface, ip_address=caller.ip_address)
        raise InvalidEmailOrPassword
    lifetime = _lifetime(settings, credential.user, remember=form.remember_me)
    async with database.unit_of_work() as uow:
        token = await open_session(
            uow, credential.user, lifetime=lifetime, ip_address=caller.ip_address, user_agent=caller.user_agent
        )
    log.info("signed_in", user_id=str(credential.user.id), surface=caller.surface, ip_address=caller.ip_address)
    return OpenedSession(credential.user, token, int(lifetime.total_seconds()) if form.remember_me else None)


def _belongs_on(surface: Surface | None, user: User) -> bool:
    return surface is not None and user.role == _ROLE_ON[surface]


def _lifetime(settings: GatewaySettings, user: User, *, remember: bool) -> timedelta:
    full = SESSION_LIFETIME
    if user.role == Role.CUSTOMER:
        full = timedelta(seconds=settings.customer_session_ttl_seconds)
    return full if remember else min(full, FORGETFUL_LIFETIME)
