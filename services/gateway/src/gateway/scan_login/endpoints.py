"""Scan-to-login (contract §6) and what devices do for it (contract-devices §1.10)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from fastapi import APIRouter, Depends, Request, Response

from gateway.auth.cookies import browser_cookie, set_session_cookies
from gateway.dependencies import (
    CallingDevice,
    CurrentDevice,
    CurrentOperator,
    CurrentSession,
    Process,
    RequestOrigin,
    UnitOfWork,
    anyone,
    once,
)
from gateway.devices.schemas import OkRead
from gateway.exact_bodies import ExactRoute, InvalidBody, SecretRoute
from gateway.limits import SCAN_LOGIN, SCAN_PAIR, SCAN_TARGETS, limit
from gateway.scan_login import service
from gateway.scan_login.arming import LIFETIME_SECONDS, Arming
from gateway.scan_login.device_scans import DeviceScans
from gateway.scan_login.problems import (
    ArmConflict,
    ArmedTooOften,
    CapabilityMissing,
    ChargerAlreadyArmed,
    ChargerRequired,
    ClockSkew,
    CodeRequired,
    DeviceAlreadyArmed,
    DeviceOffline,
    DeviceRequired,
    DeviceRevoked,
    InvalidJson,
    InvalidNonce,
    InvalidPairableType,
    NoChargersOnline,
    NothingToRedeem,
    PresenceRequired,
    ScanSignInAttended,
    Stale,
    UnknownCard,
)
from gateway.scan_login.schemas import (
    ArmBody,
    ArmedRead,
    PendingRead,
    ReleaseBody,
    ScanArmBody,
    ScanArmRead,
    ScanCancelBody,
    ScanLoginBody,
    ScanLoginRead,
    ScanResultBody,
    ScanResultRead,
    TapTargetsRead,
)
from gateway.scan_login.service import ScanLogin
from gateway.settings import ScanSignInMode
from polaris_common.http.errors import ApiError, Forbidden, NotFound, ServiceUnavailable, Unauthorized, errors
from polaris_common.http.limits import RateLimited
from polaris_common.identity.pairings import Target
from polaris_common.identity.principals import Operator
from polaris_common.models import PairableType, PairingPurpose


class ScanRoute(ExactRoute):
    """Refusals of the public scan routes."""

    not_json = InvalidJson
    refusals: ClassVar[Mapping[str, type[ApiError]]] = {
        "pairableType": InvalidPairableType,
        "pairingCode": CodeRequired,
        "chargeBoxId": ChargerRequired,
        "deviceId": DeviceRequired,
    }


class ScanLoginRoute(SecretRoute):
    """Refusals of signing in."""

    not_json = InvalidJson


router = APIRouter(prefix="/api/auth", tags=["scan"], dependencies=[Depends(anyone)], route_class=ScanLoginRoute)
arming = APIRouter(
    prefix="/api/auth", tags=["scan"], dependencies=[Depends(anyone), Depends(once)], route_class=ScanRoute
)
devices = APIRouter(tags=["scan"], route_class=ExactRoute)


def operator_or_none(session: CurrentSession) -> Operator | None:
    """The operator who calls, if one does."""
    principal = session and session.principal
    return principal if isinstance(principal, Operator) else None


OptionalOperator = Annotated[Operator | None, Depends(operator_or_none)]


def visitors_arming(uow: UnitOfWork, process: Process, origin: RequestOrigin, operator: OptionalOperator) -> Arming:
    """Arming for whoever calls."""
    to_visitors = process.settings.scan_sign_in_mode is ScanSignInMode.OPEN
    return Arming(uow, process.audit, origin, operator, open_to_visitors=to_visitors)


def operators_arming(uow: UnitOfWork, process: Process, origin: RequestOrigin, operator: CurrentOperator) -> Arming:
    """Arming for an operator."""
    return Arming(uow, process.audit, origin, operator)


def device_scans(process: Process, origin: RequestOrigin, device: CallingDevice) -> DeviceScans:
    """The scans of the device that calls."""
    return DeviceScans(process.database, process.audit, process.vault, origin, device)


VisitorsArming = Annotated[Arming, Depends(visitors_arming)]
OperatorsArming = Annotated[Arming, Depends(operators_arming)]
Scans = Annotated[DeviceScans, Depends(device_scans)]


@arming.get("/scan-tap-targets", dependencies=[Depends(limit(SCAN_TARGETS))], responses=errors(RateLimited))
async def scan_tap_targets(uow: UnitOfWork, operator: OptionalOperator) -> TapTargetsRead:
    """Where a card can be held to sign in: chargers; operators see devices too."""
    return TapTargetsRead(devices=await service.tap_targets(uow, operator))


@arming.post(
    "/scan-pair",
    dependencies=[Depends(limit(SCAN_PAIR))],
    response_model_exclude_none=True,
    responses=errors(
        InvalidJson,
        InvalidPairableType,
        ChargerRequired,
        NoChargersOnline,
        DeviceRequired,
        CapabilityMissing,
        PresenceRequired,
        ScanSignInAttended,
        NotFound,
        ChargerAlreadyArmed,
        DeviceAlreadyArmed,
        DeviceOffline,
        DeviceRevoked,
        ArmedTooOften,
    ),
)
async def scan_pair(arming: VisitorsArming, body: ArmBody | None = None) -> ArmedRead:
    """Ask a charger or a device to read the visitor's card within 90 seconds.

    Visitors name a charger by the number on it.
    """
    return ArmedRead.of(await arming.for_login(body or ArmBody()))


@arming.delete(
    "/scan-pair",
    status_code=204,
    dependencies=[Depends(limit(SCAN_PAIR))],
    responses=errors(InvalidJson, CodeRequired, ChargerRequired, DeviceRequired, RateLimited),
)
async def scan_unpair(body: ReleaseBody, arming: VisitorsArming) -> Response:
    """Give up a request; safe to repeat."""
    await arming.release(body)
    return Response(status_code=204)


@router.post(
    "/scan-login",
    dependencies=[Depends(limit(SCAN_LOGIN))],
    responses=errors(
        InvalidJson, InvalidBody, Forbidden, Stale, UnknownCard, NothingToRedeem, RateLimited, ServiceUnavailable
    ),
)
async def scan_login(
    body: ScanLoginBody, request: Request, response: Response, process: Process, origin: RequestOrigin
) -> ScanLoginRead:
    """Sign in with the card that was read for this visitor's request."""
    browser = browser_cookie(request, process.settings)
    login = ScanLogin(process.database, process.settings, process.audit, process.tickets, origin, browser)
    set_session_cookies(response, process.settings, await login.redeem(body))
    return ScanLoginRead()


@devices.post(
    "/api/devices/scan-result",
    responses=errors(Unauthorized, InvalidBody, ClockSkew, InvalidNonce, NothingToRedeem),
)
async def scan_result(body: ScanResultBody, scans: Scans) -> ScanResultRead:
    """Tell which card the device has read."""
    return await scans.take(body)


@devices.get("/api/devices/scan-result/{pairing_code}", responses=errors(Unauthorized, NotFound))
async def find_scan_result(pairing_code: str, scans: Scans, response: Response) -> ScanResultRead | PendingRead:
    """What an earlier scan found; 202 while no card was read."""
    found = await scans.find(pairing_code)
    if found is None:
        response.status_code = 202
        return PendingRead()
    return found


@devices.post("/api/devices/scan-cancel", responses=errors(Unauthorized, InvalidBody))
async def scan_cancel(
    body: ScanCancelBody, device: CurrentDevice, uow: UnitOfWork, process: Process, origin: RequestOrigin
) -> OkRead:
    """The device reads no card for this request; safe to repeat."""
    target = Target(PairableType.DEVICE, str(device.device_id))
    await Arming(uow, process.audit, origin, None).give_up(target, body.pairing_code, source="device")
    return OkRead()


@devices.post(
    "/api/admin/devices/{device_id}/scan-arm",
    responses=errors(Unauthorized, NotFound, InvalidBody, DeviceRevoked, CapabilityMissing, DeviceOffline, ArmConflict),
)
async def scan_arm(device_id: str, body: ScanArmBody, arming: OperatorsArming) -> ScanArmRead:
    """Ask a device to read a card within 90 seconds."""
    pairing = await arming.by_operator(device_id, body)
    return ScanArmRead(
        pairing_code=pairing.code,
        device_id=pairing.target,
        expires_in_sec=LIFETIME_SECONDS,
        purpose=PairingPurpose(pairing.purpose),
    )


@devices.delete("/api/admin/devices/{device_id}/scan-arm", responses=errors(Unauthorized, InvalidBody))
async def scan_disarm(device_id: str, body: ScanCancelBody, arming: OperatorsArming) -> OkRead:
    """Give up what an operator asked of a device; safe to repeat."""
    await arming.disarm(device_id, body.pairing_code)
    return OkRead()
