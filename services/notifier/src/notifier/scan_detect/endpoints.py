"""The route of the stream. Public: the pairing's code is the right to it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request

from notifier.admission import ON_OUR_SURFACE, anyone
from notifier.process import Notifier, notifier_of
from notifier.scan_detect.response import ScanDetectResponse
from notifier.scan_detect.service import PairingNotFound
from notifier.stream.census import TooManyStreams
from polaris_common.http.client_address import site_of
from polaris_common.http.errors import ApiError, NotFound, ServiceUnavailable, errors

MAX_LENGTH = 255

router = APIRouter(prefix="/api/auth", tags=["scan"], dependencies=[ON_OUR_SURFACE, Depends(anyone)])


class TargetRequired(ApiError):
    """Something is missing."""

    status, code = 400, "pairingCode_and_(chargeBoxId|deviceId)_required"
    message = "Say which request, and at which charger or device."


class OneTargetOnly(ApiError):
    """A charger and a device."""

    status, code = 400, "chargeBoxId_and_deviceId_are_mutually_exclusive"
    message = "A request is for a charger or for a device."


@router.get(
    "/scan-detect",
    response_class=ScanDetectResponse,
    responses=errors(TargetRequired, OneTargetOnly, NotFound, PairingNotFound, TooManyStreams, ServiceUnavailable),
)
async def scan_detect(
    request: Request,
    notifier: Annotated[Notifier, Depends(notifier_of)],
    *,
    code: Annotated[str, Query(alias="pairingCode", max_length=MAX_LENGTH)] = "",
    charge_box_id: Annotated[str, Query(alias="chargeBoxId", max_length=MAX_LENGTH)] = "",
    device_id: Annotated[str, Query(alias="deviceId", max_length=MAX_LENGTH)] = "",
    last_event_id: Annotated[str | None, Header()] = None,
) -> ScanDetectResponse:
    """Tells when the card was read, until the request is over. A tap that came before the stream is told at once."""
    if charge_box_id and device_id:
        raise OneTargetOnly
    if not code or not (charge_box_id or device_id) or "\x00" in code + charge_box_id + device_id:
        raise TargetRequired
    address = site_of(request.client.host if request.client else None)
    detect = notifier.scan_detect
    detect.slots.take(address)
    try:
        opened = await detect.open(code=code, charge_box_id=charge_box_id or None, device_id=device_id or None)
    except BaseException:
        detect.slots.give_back(address)
        raise
    return ScanDetectResponse(detect, opened, address=address, told=last_event_id == str(opened.pairing.id))
