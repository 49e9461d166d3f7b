"""What handlers ask for: the process's resources, a unit of work, and who is calling."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, cast

from fastapi import Depends, Request

from gateway.health.service import HealthService
from gateway.ocpp.announcer import Announcer
from gateway.ocpp.intake import MeterIntake
from gateway.settings import GatewaySettings
from gateway.surfaces import Surface, surface_of
from polaris_common import db
from polaris_common.http.errors import Forbidden, NotFound, Unauthorized
from polaris_common.identity.principals import Driver, Operator
from polaris_common.identity.sessions import SignedIn, cookie_name, resolve_session
from polaris_common.jobs import Jobs
from polaris_common.lago.signatures import WebhookVerifier


@dataclass(frozen=True)
class HookKeys:
    """The hooks' HMAC keys as bytes; a hook without a key answers 401."""

    pre_authorize: bytes | None
    meter_values: bytes | None


@dataclass(frozen=True)
class Resources:
    """What one gateway process owns while it runs."""

    settings: GatewaySettings
    database: db.Database
    jobs: Jobs
    announcer: Announcer
    intake: MeterIntake
    health: HealthService
    hook_keys: HookKeys
    lago_verifier: WebhookVerifier


def resources(request: Request) -> Resources:
    """The resources of the process that serves ``request``."""
    return cast(Resources, request.app.state.resources)


def surface(request: Request) -> Surface | None:
    """The surface that ``request`` is on; None where any host will do."""
    return surface_of(request.scope.get("state", {}))


Process = Annotated[Resources, Depends(resources)]
CurrentSurface = Annotated[Surface | None, Depends(surface)]


async def unit_of_work(process: Process) -> AsyncIterator[db.UnitOfWork]:
    """One transaction for the request, committed before the answer leaves."""
    async with process.database.unit_of_work() as uow:
        yield uow


UnitOfWork = Annotated[db.UnitOfWork, Depends(unit_of_work, scope="function")]


def session_token(request: Request, process: Process) -> str | None:
    """What the session cookie holds."""
    return request.cookies.get(cookie_name(secure=process.settings.secure_cookies))


SessionToken = Annotated[str | None, Depends(session_token)]


async def session_or_none(token: SessionToken, uow: UnitOfWork, process: Process) -> SignedIn | None:
    """The caller's session, or None when nobody is signed in."""
    lifetime = timedelta(seconds=process.settings.customer_session_ttl_seconds)
    return await resolve_session(uow, token, customer_lifetime=lifetime)


CurrentSession = Annotated[SignedIn | None, Depends(session_or_none)]


async def current_driver(session: CurrentSession) -> Driver:
    """The signed-in driver.

    Raises:
        Unauthorized: nobody is signed in.
        Forbidden: an operator is.
    """
    match session and session.principal:
        case Driver() as driver:
            return driver
        case Operator():
            raise Forbidden("This is for drivers.")
        case _:
            raise Unauthorized


async def current_operator(session: CurrentSession) -> Operator:
    """The signed-in operator.

    Raises:
        Unauthorized: nobody is signed in.
        NotFound: a driver is; for drivers the admin API does not exist.
    """
    match session and session.principal:
        case Operator() as operator:
            return operator
        case Driver():
            raise NotFound
        case _:
            raise Unauthorized


CurrentDriver = Annotated[Driver, Depends(current_driver)]
CurrentOperator = Annotated[Operator, Depends(current_operator)]
