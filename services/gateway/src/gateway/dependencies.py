"""What handlers ask for: the process's resources, a unit of work, and who is calling."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from gateway.auth.current import find_session
from gateway.capabilities import service as capabilities
from gateway.health.service import HealthService
from gateway.limits import (
    ADMIN_READS,
    ADMIN_WRITES,
    CUSTOMER_READS,
    CUSTOMER_WRITES,
    DEVICE,
    PUBLIC,
    REFUSED,
    caller_site,
)
from gateway.ocpp.announcer import Announcer
from gateway.ocpp.intake import MeterIntake
from gateway.ocpp.recorder import TagHashes, TapRecorder
from gateway.ocpp.replays import Replays
from gateway.ocpp.service import TapDecisions
from gateway.settings import GatewaySettings
from polaris_common import db
from polaris_common.domain.device_capabilities import Capability
from polaris_common.domain.driver_capabilities import DriverCapability
from polaris_common.http.callers import READING, Caller, admits
from polaris_common.http.errors import Forbidden, NotFound, Unauthorized
from polaris_common.http.idempotency import attempt_of, begin
from polaris_common.http.limits import Bucket, RateLimits, note_turns
from polaris_common.http.surfaces import Surface, surface_of
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.devices import (
    BearerRefused,
    DeviceRepository,
    ResolvedDevice,
    SecretVault,
    bearer_token,
    token_hash,
)
from polaris_common.identity.impersonation import Views
from polaris_common.identity.oidc import OidcProvider
from polaris_common.identity.pairings import ScanTickets
from polaris_common.identity.principals import Device, Driver, Operator
from polaris_common.identity.sessions import SignedIn, cookie_name
from polaris_common.jobs import Jobs
from polaris_common.lago.signatures import WebhookVerifier


@dataclass(frozen=True)
class HookKeys:
    """The HMAC keys that each hook accepts, as bytes; a hook without a key answers 401."""

    pre_authorize: tuple[bytes, ...]
    meter_values: tuple[bytes, ...]


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
    audit: Audit
    vault: SecretVault
    tickets: ScanTickets
    taps: TapDecisions
    tag_hashes: TagHashes
    tap_recorder: TapRecorder
    replays: Replays
    limits: RateLimits
    oidc: OidcProvider | None


def resources(request: Request) -> Resources:
    """The resources of the process that serves ``request``."""
    return cast(Resources, request.app.state.resources)


def surface(request: Request) -> Surface | None:
    """The surface that ``request`` is on; None where any host will do."""
    return surface_of(request.scope.get("state", {}))


Process = Annotated[Resources, Depends(resources)]
CurrentSurface = Annotated[Surface | None, Depends(surface)]


async def unit_of_work(request: Request, process: Process) -> AsyncIterator[db.UnitOfWork]:
    """One transaction for the request, committed before the answer leaves; it takes a connection when it is used."""
    async with process.database.unit_of_work() as uow:
        yield uow
        if (attempt := attempt_of(request)) is not None:
            await attempt.carry_out(uow)


UnitOfWork = Annotated[db.UnitOfWork, Depends(unit_of_work, scope="function")]


def session_token(request: Request, process: Process) -> str | None:
    """What the session cookie holds."""
    return request.cookies.get(cookie_name(secure=process.settings.secure_cookies))


SessionToken = Annotated[str | None, Depends(session_token)]


def origin(request: Request) -> Origin:
    """Where the request comes from, for the audit."""
    return Origin.of(request)


RequestOrigin = Annotated[Origin, Depends(origin)]


async def session_or_none(
    request: Request, token: SessionToken, process: Process, origin: RequestOrigin
) -> SignedIn | None:
    """The caller's session, or None when nobody is signed in.

    Looked up in a transaction of its own: what it changes stands whatever the handler does, and nobody waits for Redis
    with a database connection in hand.
    """
    if not token:
        return None
    return await find_session(
        request, token, database=process.database, settings=process.settings, audit=process.audit, origin=origin
    )


CurrentSession = Annotated[SignedIn | None, Depends(session_or_none)]


async def admit(request: Request, process: Resources, who: str, *, reads: Bucket, writes: Bucket) -> None:
    """Count ``who``'s call, and start the mutation that carries an ``Idempotency-Key``.

    Raises:
        RateLimited: they called too often.
        Replay, StillRunning, KeyReused, KeyTooLong, AnswerNotKept: they sent this before.
    """
    note_turns(request.scope, await process.limits.spend(reads if request.method in READING else writes, who))
    await begin(request, process.database, who)


async def nobody(request: Request, process: Resources) -> Unauthorized:
    """What to raise at a call without a valid credential.

    Raises:
        RateLimited: there were too many from this address.
    """
    note_turns(request.scope, await process.limits.spend(REFUSED, caller_site(request)))
    return Unauthorized()


@admits(Caller.ANYONE)
def monitor() -> None:
    """Let everybody in as often as they like: health probes."""


@admits(Caller.ANYONE)
async def anyone(request: Request, process: Process) -> None:
    """Let everybody in; what they may see is the handler's to decide.

    Raises:
        RateLimited: their address calls too often.
    """
    note_turns(request.scope, await process.limits.spend(PUBLIC, caller_site(request)))


async def once(request: Request, process: Process) -> None:
    """On a public route that changes something: heed ``Idempotency-Key``, whoever calls.

    An answer that sets a cookie or is ``no-store`` is never kept: its repeat gets 409.
    """
    await begin(request, process.database, "anyone")


@admits(Caller.DRIVER)
async def current_driver(request: Request, session: CurrentSession, process: Process, origin: RequestOrigin) -> Driver:
    """The signed-in driver, or the driver whose account an operator views.

    Raises:
        Unauthorized: nobody is signed in.
        Forbidden: an operator is who views nobody's account, or who tries to change something in it.
    """
    if session is None:
        raise await nobody(request, process)
    driver = session.principal
    if not isinstance(driver, Driver):
        views = Views(process.database, process.audit)
        as_text = request.query_params.get("as")
        driver = await views.view(session, as_text=as_text, method=request.method, origin=origin)
    who = f"user:{driver.impersonated_by or driver.user_id}"
    await admit(request, process, who, reads=CUSTOMER_READS, writes=CUSTOMER_WRITES)
    return driver


@admits(Caller.OPERATOR)
async def current_operator(request: Request, session: CurrentSession, process: Process) -> Operator:
    """The signed-in operator.

    Raises:
        Unauthorized: nobody is signed in.
        NotFound: a driver is; for drivers the admin API does not exist.
    """
    match session and session.principal:
        case Operator() as operator:
            await _admit_operator(request, process, operator)
            return operator
        case Driver():
            raise NotFound
        case _:
            raise await nobody(request, process)


@admits(Caller.SUPERADMIN)
async def current_superadmin(request: Request, session: CurrentSession, process: Process) -> Operator:
    """The signed-in operator who may manage operators.

    Raises:
        Unauthorized: nobody is signed in.
        NotFound: a driver is; for drivers the admin API does not exist.
        Forbidden: an operator without that right is.
    """
    match session and session.principal:
        case Operator(superadmin=True) as operator:
            await _admit_operator(request, process, operator)
            return operator
        case Operator():
            raise Forbidden("This is for superadmins.")
        case Driver():
            raise NotFound
        case _:
            raise await nobody(request, process)


@admits(Caller.SIGNED_IN)
async def signed_in(request: Request, session: CurrentSession, process: Process) -> SignedIn:
    """The session of whoever is signed in, driver or operator.

    Raises:
        Unauthorized: nobody is.
    """
    if session is None:
        raise await nobody(request, process)
    await admit(request, process, f"user:{session.user.id}", reads=CUSTOMER_READS, writes=CUSTOMER_WRITES)
    return session


async def _admit_operator(request: Request, process: Resources, operator: Operator) -> None:
    await admit(request, process, f"user:{operator.user_id}", reads=ADMIN_READS, writes=ADMIN_WRITES)


CurrentDriver = Annotated[Driver, Depends(current_driver)]


def requires(capability: DriverCapability) -> Callable[..., Awaitable[Driver]]:
    """A dependency like ``current_driver`` for what not every driver may do.

    Raises (when called):
        AccountInactive: the driver's cards do not allow it.
    """

    async def capable_driver(driver: CurrentDriver, process: Process, origin: RequestOrigin) -> Driver:
        await capabilities.require(process.database, process.audit, driver, capability, origin)
        return driver

    return capable_driver


CurrentOperator = Annotated[Operator, Depends(current_operator)]
CurrentSuperadmin = Annotated[Operator, Depends(current_superadmin)]
SignedInSession = Annotated[SignedIn, Depends(signed_in)]


class CapabilityDenied(Forbidden):
    """The device lacks a capability."""

    code, message = "capability_denied", "This device may not do this."

    def __init__(self, missing: Capability | None = None) -> None:
        super().__init__(fields={} if missing is None else {"missing": [missing.value]})


@admits(Caller.DEVICE)
async def resolved_device(request: Request, process: Process, origin: RequestOrigin) -> ResolvedDevice:
    """The device whose bearer token the request carries; cookies mean nothing here.

    Looked up in a transaction of its own. When the database is away the answer is 503: a 401 would make the app forget
    its credentials for good.

    Raises:
        BearerRefused: no token, or one that is unknown, revoked, expired or of a removed device.
    """
    token = bearer_token(request.headers.get("authorization"))
    found = None
    if token is not None:
        async with process.database.unit_of_work() as uow:
            found = await DeviceRepository(uow).resolve(token)
    if found is None:
        note_turns(request.scope, await process.limits.spend(REFUSED, caller_site(request)))
        if token is not None:
            async with process.database.unit_of_work() as uow:
                prefix = token_hash(token)[:8]
                await process.audit.record(uow, AuditEvent.DEVICE_TOKEN_INVALID, origin, hashPrefix=prefix)
        raise BearerRefused
    await admit(request, process, f"device:{found.principal.device_id}", reads=DEVICE, writes=DEVICE)
    return found


CallingDevice = Annotated[ResolvedDevice, Depends(resolved_device)]


def current_device(found: CallingDevice) -> Device:
    """The registered device that calls."""
    return found.principal


CurrentDevice = Annotated[Device, Depends(current_device)]


def requires_device(capability: Capability) -> Callable[..., Awaitable[Device]]:
    """A dependency like ``current_device`` for what not every device may do.

    Raises (when called):
        CapabilityDenied: the device lacks ``capability``.
    """

    async def capable_device(device: CurrentDevice, process: Process, origin: RequestOrigin) -> Device:
        if capability in device.capabilities:
            return device
        async with process.database.unit_of_work() as uow:
            await process.audit.record(
                uow,
                AuditEvent.DEVICE_CAPABILITY_DENIED,
                origin,
                user_id=device.owner_user_id,
                deviceId=str(device.device_id),
                missing=[capability.value],
            )
        raise CapabilityDenied(capability)

    return capable_device
