"""Signing drivers in by a mailed link (contract §5.3 to §5.5b).

Only drivers get such links, and only a person who is a driver when the link is used is signed in by it.
"""

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from sqlalchemy import func, select, update

from gateway.auth.browser import Browser, sign_in_browser
from gateway.settings import GatewaySettings
from polaris_common.db import Database, UnitOfWork
from polaris_common.email.queue import queue_mail
from polaris_common.email.templates import MagicLink, TokenLink
from polaris_common.identity import one_time
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.sessions import Opened
from polaris_common.models import Role, TokenPurpose, User

VERIFY_PAGE = "/auth/verify"


async def request_magic_link(
    uow: UnitOfWork, settings: GatewaySettings, audit: Audit, email: str, *, callback: str, origin: Origin
) -> None:
    """Mail a link to ``email`` if a driver has this address. The same two INSERTs for every address.

    ``callback``: the path on the customer host where the link ends.
    """
    lifetime = timedelta(seconds=settings.magic_link_ttl_seconds)
    query = "" if callback == "/" else urlencode({"callbackURL": callback}) + "&"
    address = f"{settings.customer_base_url}{VERIFY_PAGE}?{query}token="
    link = TokenLink(address, TokenPurpose.MAGIC_LINK, lifetime, Role.CUSTOMER)
    await audit.record(uow, AuditEvent.MAGIC_LINK_REQUESTED, origin, email=email, source="preflight")
    await queue_mail(uow, MagicLink(link), email, origin=origin)


async def owner_of_link(uow: UnitOfWork, token: str) -> User | None:
    """Whom a link would sign in; it stays usable."""
    return await _person(uow, await one_time.look_at(uow, TokenPurpose.MAGIC_LINK, token))


async def consume_magic_link(uow: UnitOfWork, token: str) -> User | None:
    """Use a link up; whose it was, or None when it is unknown, used, expired or for an address they no longer have.

    Their address counts as verified now. The caller looks at their role before it makes a session.
    """
    user = await _person(uow, await one_time.use(uow, TokenPurpose.MAGIC_LINK, token))
    if user is not None and not user.email_verified:
        verified = update(User).where(User.id == user.id).values(email_verified=True, updated_at=func.now())
        await uow.execute(verified.execution_options(synchronize_session=False))
    return user


@dataclass(frozen=True)
class LinkSignIn:
    """Signs drivers in in browsers."""

    database: Database
    settings: GatewaySettings
    audit: Audit

    async def sign_in(self, token: str, *, browser: Browser, origin: Origin) -> Opened | None:
        """A session for the driver who got the link; None, and no session, for anybody else."""
        async with self.database.unit_of_work() as uow:
            user = await consume_magic_link(uow, token)
            if user is None or user.role != Role.CUSTOMER:
                user_id = user.id if user else None
                event = AuditEvent.MAGIC_LINK_FAILED
                await self.audit.record(uow, event, origin, user_id=user_id, reason=_reason(user))
                return None
            await self.audit.record(uow, AuditEvent.MAGIC_LINK_CONSUMED, origin, user_id=user.id, source="web_verify")
            return await sign_in_browser(uow, self.settings, user, browser)


def _reason(user: User | None) -> str:
    return "invalid_or_expired" if user is None else "not_a_customer"


async def _person(uow: UnitOfWork, used: one_time.Used | None) -> User | None:
    if used is None or used.user_id is None:
        return None
    query = select(User).where(User.id == used.user_id, func.lower(User.email) == used.payload.get("email"))
    return (await uow.execute(query)).scalar_one_or_none()
