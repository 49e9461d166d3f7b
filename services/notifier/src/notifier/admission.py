"""Who may open a stream: the same people, by the same rules, as may call the gateway."""

from typing import Annotated

from fastapi import Depends, Query, Request

from notifier.process import Notifier, notifier_of
from notifier.stream.connection import Viewer
from notifier.stream.rights import SessionRight
from notifier.surface import on_our_surface
from polaris_common.http.callers import Caller, admits
from polaris_common.http.errors import NotFound, Unauthorized
from polaris_common.identity.audit import Origin
from polaris_common.identity.devices import BearerRefused, DeviceRepository, bearer_token
from polaris_common.identity.impersonation import NoCustomerViewed, user_id_in
from polaris_common.identity.principals import Device, Driver, Operator
from polaris_common.identity.sessions import SignedIn, cookie_name, resolve_session

Process = Annotated[Notifier, Depends(notifier_of)]
"""The notifier that serves a request."""

ON_OUR_SURFACE = Depends(on_our_surface)
"""For every router of streams: other hosts, and the other surface, have none."""


@admits(Caller.ANYONE)
def anyone() -> None:
    """Let everybody in."""


async def signed_in(request: Request, notifier: Process) -> SignedIn:
    """The session behind the request's cookie.

    Raises:
        Unauthorized: there is none.
        ServiceUnavailable: the database is away.
    """
    settings = notifier.settings
    token = request.cookies.get(cookie_name(secure=settings.secure_cookies))
    async with notifier.reads.unit_of_work() as uow:
        found = await resolve_session(uow, token, customer_lifetime=settings.customer_lifetime)
    if found is None:
        raise Unauthorized
    return found


Session = Annotated[SignedIn, Depends(signed_in)]


@admits(Caller.SIGNED_IN)
async def driver(
    request: Request, notifier: Process, session: Session, as_: Annotated[str | None, Query(alias="as")] = None
) -> Viewer:
    """The signed-in driver, or the driver whose account an operator views; an operator who views none is themselves."""
    principal, user = session.principal, session.user
    viewed: Driver | None = None
    if isinstance(principal, Operator):
        try:
            viewed = await notifier.views.view(session, as_text=as_, method=request.method, origin=Origin.of(request))
        except NoCustomerViewed:
            viewed = None
    right = SessionRight(session.session_id, user.role)
    if viewed is not None:
        named = viewed.user_id == user_id_in(as_)
        right = SessionRight(session.session_id, user.role, viewing=viewed.user_id, named=named)
    seen_as = viewed or Driver(user.id)
    return Viewer(f"user:{user.id}", seen_as.audiences, right, user_id=seen_as.user_id)


@admits(Caller.OPERATOR)
def operator(session: Session) -> Viewer:
    """The signed-in operator.

    Raises:
        NotFound: a driver is; for drivers the admin API does not exist.
    """
    principal, user = session.principal, session.user
    if not isinstance(principal, Operator):
        raise NotFound
    return Viewer(f"user:{user.id}", principal.audiences, SessionRight(session.session_id, user.role))


@admits(Caller.DEVICE)
async def device(request: Request, notifier: Process) -> Device:
    """The device whose bearer token the request carries; cookies mean nothing here.

    Raises:
        BearerRefused: no token, or one that is unknown, revoked, expired or of a removed device.
        ServiceUnavailable: the database is away.
    """
    token = bearer_token(request.headers.get("authorization"))
    if token is None:
        raise BearerRefused
    async with notifier.reads.unit_of_work() as uow:
        found = await DeviceRepository(uow).resolve(token)
    if found is None:
        raise BearerRefused
    return found.principal
