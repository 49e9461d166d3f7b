"""Finding the session behind a request's cookie."""

from starlette.requests import Request

from gateway.auth.cookies import renew_cookies
from gateway.settings import GatewaySettings
from polaris_common.db import Database
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.sessions import SignedIn, end_overdue, keep_alive, resolve_session


async def find_session(
    request: Request, token: str, *, database: Database, settings: GatewaySettings, audit: Audit, origin: Origin
) -> SignedIn | None:
    """The live session behind ``token``.

    In a transaction of its own: an operator's session that is used is prolonged, and the cookie with it, and a driver's
    session that has outlived its time is deleted, whatever becomes of the request.
    """
    lifetime = settings.customer_lifetime
    async with database.glance() as uow:
        signed_in = await resolve_session(uow, token, customer_lifetime=lifetime)
    if signed_in is not None and signed_in.seen_lately:
        return signed_in
    async with database.unit_of_work() as uow:
        signed_in = await resolve_session(uow, token, customer_lifetime=lifetime)
        if signed_in is None:
            user_id = await end_overdue(uow, token, customer_lifetime=lifetime)
            if user_id is not None:
                await audit.record(uow, AuditEvent.SESSION_EXPIRED_CUSTOMER_TTL, origin, user_id=user_id)
        elif await keep_alive(uow, signed_in):
            renew_cookies(request, settings)
    return signed_in
