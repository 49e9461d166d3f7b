"""The streams' routes for browsers."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query

from notifier.admission import ON_OUR_SURFACE, Process, driver, operator
from notifier.process import Notifier
from notifier.stream.census import LogStreamLimit, StreamLimit
from notifier.stream.connection import Viewer
from notifier.stream.frames import METER, Frame, meter_frame
from notifier.stream.kinds import StreamClass, StreamKind
from notifier.stream.repository import StreamRepository
from notifier.stream.response import EventStreamResponse
from notifier.stream.service import Beginning, read_event_id
from notifier.stream.topics import CUSTOMER_TYPES, LOG_TYPES, TOPICS
from polaris_common.db import UnitOfWork
from polaris_common.http.errors import ApiError, NotFound, ServiceUnavailable, Unauthorized, errors

customers = APIRouter(prefix="/api/stream", tags=["streams"], dependencies=[ON_OUR_SURFACE])
operators = APIRouter(prefix="/api/admin", tags=["streams"], dependencies=[ON_OUR_SURFACE])

STREAM = errors(Unauthorized, NotFound, StreamLimit, ServiceUnavailable)


def after(
    header: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
    query: Annotated[str | None, Query(alias="lastEventId")] = None,
) -> int | None:
    """Where to go on. A browser that reconnects by itself sends the header, which is newer than its address."""
    return read_event_id(header) or read_event_id(query)


After = Annotated[int | None, Depends(after)]
Operator = Annotated[Viewer, Depends(operator)]


class InvoiceRequired(ApiError):
    """No invoice is named."""

    status, code = 400, "Missing required query param: invoiceId"
    message = "Say which invoice."


class UnknownTopic(ApiError):
    """A topic that there is not."""

    status, code = 400, "unknown_topic"

    def __init__(self, names: set[str]) -> None:
        super().__init__(f"There is no topic {', '.join(sorted(names))}.", fields={"topics": sorted(TOPICS)})


@customers.get("/customer", response_class=EventStreamResponse, responses=STREAM)
async def customer_stream(
    notifier: Process, viewer: Annotated[Viewer, Depends(driver)], last_event_id: After
) -> EventStreamResponse:
    """Live events of the signed-in driver: sessions, billing, what their cars draw, which chargers are free.

    Resumes after ``Last-Event-ID`` (or ``?lastEventId=``) on any replica; one ``resync`` event when that is too far
    back. An operator reads along with ``?as=``.
    """
    kind = StreamKind(StreamClass.DRIVERS, CUSTOMER_TYPES)
    return await _open(notifier, kind, viewer, last_event_id, _meters_of(viewer.user_id))


@operators.get("/stream/chargers", response_class=EventStreamResponse, responses=STREAM)
async def charger_stream(notifier: Process, viewer: Operator, last_event_id: After) -> EventStreamResponse:
    """Connectors, live values, sessions and cards of the whole fleet; first the latest values of open sessions."""
    return await _open_topics(notifier, viewer, {"chargers"}, last_event_id)


@operators.get("/notifications/stream", response_class=EventStreamResponse, responses=STREAM)
async def notification_stream(notifier: Process, viewer: Operator, last_event_id: After) -> EventStreamResponse:
    """Notifications to all operators or to this one, and what this one has read elsewhere."""
    return await _open_topics(notifier, viewer, {"notifications"}, last_event_id)


@operators.get("/stream/invoices", response_class=EventStreamResponse, responses=STREAM | errors(InvoiceRequired))
async def invoice_stream(
    notifier: Process,
    viewer: Operator,
    last_event_id: After,
    invoice_id: Annotated[str, Query(alias="invoiceId", max_length=255)] = "",
) -> EventStreamResponse:
    """What Lago says about one invoice."""
    if not invoice_id:
        raise InvoiceRequired
    kind = StreamKind(StreamClass.OPERATORS, TOPICS["invoices"], only={"invoiceId": invoice_id})
    return await _open(notifier, kind, viewer, last_event_id)


@operators.get("/stream", response_class=EventStreamResponse, responses=STREAM | errors(UnknownTopic))
async def operator_stream(
    notifier: Process,
    viewer: Operator,
    last_event_id: After,
    topics: Annotated[str, Query(max_length=500)] = "",
) -> EventStreamResponse:
    """Several topics over one connection, separated by commas; all of them when none is named."""
    wanted = {name for part in topics.split(",") if (name := part.strip())} or set(TOPICS)
    if unknown := wanted - TOPICS.keys():
        raise UnknownTopic(unknown)
    return await _open_topics(notifier, viewer, wanted, last_event_id)


@operators.get(
    "/devices/{device_id}/logs-stream",
    response_class=EventStreamResponse,
    responses=errors(Unauthorized, NotFound, LogStreamLimit, ServiceUnavailable),
)
async def device_log_stream(
    notifier: Process, viewer: Operator, last_event_id: After, device_id: str
) -> EventStreamResponse:
    """The lines of its log that a device delivers."""
    known = _uuid(device_id)
    async with notifier.reads.unit_of_work() as uow:
        if known is None or not await StreamRepository(uow).device_exists(known):
            raise NotFound
    kind = StreamKind(StreamClass.DEVICE_LOGS, LOG_TYPES, only={"deviceId": str(known)})
    return await _open(notifier, kind, viewer, last_event_id)


async def _open_topics(
    notifier: Notifier, viewer: Viewer, topics: set[str], last_event_id: int | None
) -> EventStreamResponse:
    kind = StreamKind(StreamClass.OPERATORS, frozenset().union(*(TOPICS[name] for name in topics)))
    beginning = _meters_of(None) if METER in kind.types else None
    return await _open(notifier, kind, viewer, last_event_id, beginning)


async def _open(
    notifier: Notifier,
    kind: StreamKind,
    viewer: Viewer,
    last_event_id: int | None,
    beginning: Beginning | None = None,
) -> EventStreamResponse:
    connection = await notifier.opener.open(kind, viewer, last_event_id=last_event_id, beginning=beginning)
    return EventStreamResponse(connection, notifier.hub, notifier.catch_up)


def _meters_of(user_id: UUID | None) -> Beginning:
    async def read(uow: UnitOfWork) -> list[Frame]:
        return [meter_frame(telemetry) for telemetry in await StreamRepository(uow).live_meters(user_id)]

    return read


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
