"""Operators sign in with their organization's identity provider.

Being known there is not enough: with ``ADMIN_OIDC_ADMIN_GROUP`` one must be in that group, without it one must be an
operator here already. Who it is follows from issuer and subject; the first time also from an address that the provider
has verified. Drivers never become operators on the way.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from gateway.auth.browser import Browser, sign_in_browser
from gateway.oidc.repository import OidcRepository
from gateway.settings import GatewaySettings
from polaris_common.db import Database, UnitOfWork
from polaris_common.identity import one_time
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.oidc import Identity, OidcError, OidcProvider
from polaris_common.identity.people import EmailTaken, create_person, person_by_email, sign_out_everywhere
from polaris_common.identity.sessions import Opened
from polaris_common.models import Role, TokenPurpose, User

PROVIDER_ID = "pocket-id"
CALLBACK_PATH = f"/api/auth/oauth2/callback/{PROVIDER_ID}"
ERROR_PAGE = "/api/auth/error"
STATE_LIFETIME = timedelta(minutes=10)
_ERROR = re.compile(r"[A-Za-z_]{1,64}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Started:
    """Where the browser goes, and the cookie by which it is recognised when it comes back."""

    url: str
    cookie: str


@dataclass(frozen=True)
class Answer:
    """What the provider sent the browser back with."""

    state: str | None
    code: str | None
    iss: str | None
    error: str | None


@dataclass(frozen=True)
class Finished:
    """Where the browser goes now; without a session when ``error`` says why."""

    path: str
    opened: Opened | None = None
    error: str | None = None


@dataclass(frozen=True)
class OidcSignIn:
    """Signs operators in with one provider."""

    provider: OidcProvider
    database: Database
    settings: GatewaySettings
    audit: Audit

    @property
    def redirect_uri(self) -> str:
        """Where the provider sends browsers back to; always on the operators' host."""
        return f"{self.settings.admin_base_url}{CALLBACK_PATH}"

    async def start(self, *, callback: str, error_callback: str | None) -> Started:
        """Send a browser to the provider.

        Raises:
            OidcError: the provider is not there.
        """
        cookie, nonce, verifier = (secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48))
        await self.provider.check_issuer(self.provider.issuer)  # before a transaction begins
        payload = {
            "nonce": nonce,
            "verifier": verifier,
            "callback": callback,
            "errorCallback": error_callback,
            "browser": _fingerprint(cookie),
        }
        async with self.database.unit_of_work() as uow:
            state = await one_time.issue(uow, TokenPurpose.OIDC_STATE, lifetime=STATE_LIFETIME, payload=payload)
        url = await self.provider.authorization_url(
            redirect_uri=self.redirect_uri,
            state=state,
            nonce=nonce,
            code_verifier=verifier,
            groups=self.settings.admin_oidc_admin_group is not None,
        )
        return Started(url, cookie)

    async def finish(self, answer: Answer, *, cookie: str | None, browser: Browser, origin: Origin) -> Finished:
        """Sign in whoever comes back from the provider, or say where to go with which error."""
        error_path = ERROR_PAGE
        try:
            started = await self._started(answer, cookie)
            error_path = started["errorCallback"] or ERROR_PAGE
            identity = await self._identity(answer, started)
            opened = await self._sign_in(identity, browser, origin)
        except OidcError as error:
            log.warning("oidc_sign_in_refused", reason=error.code)
            async with self.database.unit_of_work() as uow:
                await self.audit.record(uow, AuditEvent.OIDC_LOGIN_FAILED, origin, reason=error.code)
            return Finished(error_path, error=error.code)
        return Finished(started["callback"], opened=opened)

    async def _started(self, answer: Answer, cookie: str | None) -> dict[str, Any]:
        """What this browser began; used up by this.

        Raises:
            OidcError: nothing, or it was too long ago, or another browser began it.
        """
        async with self.database.unit_of_work() as uow:
            used = await one_time.use(uow, TokenPurpose.OIDC_STATE, answer.state or "")
        if used is None or not hmac.compare_digest(_fingerprint(cookie or ""), used.payload["browser"]):
            raise OidcError("state_mismatch")
        return used.payload

    async def _identity(self, answer: Answer, started: dict[str, Any]) -> Identity:
        if answer.error is not None:
            raise OidcError(answer.error if _ERROR.fullmatch(answer.error) else "provider_error")
        if not answer.code:
            raise OidcError("oAuth_code_missing")
        await self.provider.check_issuer(answer.iss)
        return await self.provider.identity(
            code=answer.code,
            redirect_uri=self.redirect_uri,
            code_verifier=started["verifier"],
            nonce=started["nonce"],
        )

    async def _sign_in(self, identity: Identity, browser: Browser, origin: Origin) -> Opened:
        async with self.database.unit_of_work() as uow:
            user, problem = await self._operator(uow, identity, origin)
            if user is not None and problem is None:
                event = AuditEvent.OIDC_LOGIN_SUCCESS
                await self.audit.record(uow, event, origin, user_id=user.id, email=identity.email)
                return await sign_in_browser(uow, self.settings, user, browser)
        raise OidcError(problem or "unable_to_create_user")

    async def _operator(self, uow: UnitOfWork, identity: Identity, origin: Origin) -> tuple[User | None, str | None]:
        """The operator that this is, or why it is none."""
        repository = OidcRepository(uow)
        group = self.settings.admin_oidc_admin_group
        member = group is not None and group in identity.groups(self.settings.admin_oidc_groups_claim)
        user = await repository.linked(identity.issuer, identity.subject)
        known = user is not None
        if user is None and identity.email is not None and identity.email_verified:
            user = await person_by_email(uow, identity.email)
        if user is not None and user.role != Role.ADMIN:
            return user, "role_mismatch"
        if group is not None and not member:
            if known and user is not None:
                await sign_out_everywhere(uow, user.id)  # the provider has taken the right away
            return user, "not_a_member"
        if user is None:
            return await self._new_operator(uow, identity, origin, member=member)
        if not known:
            await repository.link(user, identity.issuer, identity.subject)
        return user, None

    async def _new_operator(
        self, uow: UnitOfWork, identity: Identity, origin: Origin, *, member: bool
    ) -> tuple[User | None, str | None]:
        if identity.email is None:
            return None, "email_is_missing"
        if not identity.email_verified or not member:
            return None, "account_not_linked"
        try:
            user = await create_person(
                uow, email=identity.email, name=identity.name, role=Role.ADMIN, email_verified=True
            )
        except EmailTaken:
            return None, "unable_to_create_user"
        await OidcRepository(uow).link(user, identity.issuer, identity.subject)
        await self.audit.record(uow, AuditEvent.USER_CREATED, origin, user_id=user.id, role=user.role, source="oidc")
        return user, None


def _fingerprint(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
