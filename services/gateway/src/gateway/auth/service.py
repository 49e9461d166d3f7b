"""Signing in with a password."""

from dataclasses import dataclass

import structlog

from gateway.auth.browser import Browser, sign_in_browser
from gateway.auth.failures import Failures
from gateway.auth.repository import Credential, credential_of, still_has
from gateway.auth.schemas import SignInEmail
from gateway.settings import GatewaySettings
from polaris_common.db import Database, UnitOfWork
from polaris_common.http.errors import ApiError, Forbidden
from polaris_common.http.surfaces import Surface
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.passwords import verify_password
from polaris_common.identity.sessions import Opened
from polaris_common.models import Role, User

ROLE_ON = {Surface.ADMIN: Role.ADMIN, Surface.CUSTOMER: Role.CUSTOMER}

log = structlog.get_logger(__name__)


class InvalidEmailOrPassword(ApiError):
    """One answer for every reason, so that nobody learns who has an account."""

    status, code, message = 401, "invalid_email_or_password", "The e-mail address or the password is wrong."


class TooManyFailures(ApiError):
    """Too many wrong passwords for this address, whether anybody has it or not."""

    status, code, message = 429, "rate_limited", "Too many wrong passwords."

    def __init__(self, seconds: int = 1) -> None:
        super().__init__(f"{self.message} Try again in {seconds} s.", headers={"retry-after": str(seconds)})


class PasswordSignInDisabled(Forbidden):
    """Operators sign in with the identity provider."""

    code, message = "password_sign_in_disabled", "Sign in with your organization's account."


@dataclass(frozen=True)
class SignedInNow:
    """Who has just signed in, and what the browser gets."""

    user: User
    opened: Opened


@dataclass(frozen=True)
class PasswordSignIn:
    """Lets in whoever knows their password."""

    database: Database
    settings: GatewaySettings
    audit: Audit
    failures: Failures

    async def sign_in(
        self, form: SignInEmail, *, surface: Surface | None, browser: Browser, origin: Origin
    ) -> SignedInNow:
        """Open a session for whoever ``form`` proves to be. Drivers sign in on their surface, operators on theirs.

        Known and unknown addresses take the same steps.

        Raises:
            InvalidEmailOrPassword: unknown address, no password, wrong password or wrong surface.
            TooManyFailures: the address has to wait.
            PasswordSignInDisabled: operators have another way.
        """
        if surface is Surface.ADMIN and not self.settings.admin_passwords_enabled:
            raise PasswordSignInDisabled
        async with self.database.unit_of_work() as uow:
            wait = await self.failures.count(uow, form.email)
            credential = await credential_of(uow, form.email)
            if wait:
                await self._refused(uow, form, credential, origin, reason="delayed")
        if wait:
            raise TooManyFailures(wait)
        # Checked outside of any transaction, for everybody alike: it takes a tenth of a second.
        proven = await verify_password(form.password, credential.password_hash if credential else None)
        if credential is None or not proven or not _belongs_on(surface, credential.user):
            async with self.database.unit_of_work() as uow:
                await self._refused(uow, form, credential, origin, reason="refused")
            raise InvalidEmailOrPassword
        return await self._welcome(form, credential, browser, origin)

    async def _welcome(
        self, form: SignInEmail, credential: Credential, browser: Browser, origin: Origin
    ) -> SignedInNow:
        user = credential.user
        async with self.database.unit_of_work() as uow:
            if not await still_has(uow, credential):
                raise InvalidEmailOrPassword
            await self.failures.forget(uow, form.email)
            opened = await sign_in_browser(uow, self.settings, user, browser, remember=form.remember_me)
            event = AuditEvent.PASSWORD_LOGIN_SUCCESS
            await self.audit.record(uow, event, origin, user_id=user.id, email=form.email)
        log.info("signed_in", user_id=str(user.id))
        return SignedInNow(user, opened)

    async def _refused(
        self, uow: UnitOfWork, form: SignInEmail, credential: Credential | None, origin: Origin, *, reason: str
    ) -> None:
        user_id = credential.user.id if credential else None
        event = AuditEvent.PASSWORD_LOGIN_FAILED
        await self.audit.record(uow, event, origin, user_id=user_id, email=form.email, reason=reason)


def _belongs_on(surface: Surface | None, user: User) -> bool:
    return surface is not None and user.role == ROLE_ON[surface]
