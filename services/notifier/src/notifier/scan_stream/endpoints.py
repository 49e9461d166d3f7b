"""The route of the stream."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from notifier.admission import ON_OUR_SURFACE, Process, device
from notifier.scan_stream import service
from notifier.stream.census import StreamLimit, TooManyStreams
from notifier.stream.endpoints import After
from notifier.stream.response import EventStreamResponse
from polaris_common.http.client_address import site_of
from polaris_common.http.errors import NotFound, ServiceUnavailable, errors
from polaris_common.identity.devices import BearerRefused
from polaris_common.identity.principals import Device

router = APIRouter(prefix="/api/devices", tags=["devices"], dependencies=[ON_OUR_SURFACE])


@router.get(
    "/scan-stream",
    response_class=EventStreamResponse,
    responses=errors(BearerRefused, NotFound, TooManyStreams, StreamLimit, ServiceUnavailable),
)
async def scan_stream(
    request: Request, notifier: Process, caller: Annotated[Device, Depends(device)], last_event_id: After
) -> EventStreamResponse:
    """Requests to read a card and what the app must ask for anew, for the device that calls. A new stream of the
    device ends the one before it.
    """
    address = site_of(request.client.host if request.client else None)
    connection = await service.open_stream(notifier, caller, address=address, last_event_id=last_event_id)
    return EventStreamResponse(connection, notifier.hub, notifier.catch_up)
