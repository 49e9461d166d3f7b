"""Opening a stream: who it is, what they may see and from where it goes on."""

import asyncio
from collections.abc import Iterable

import structlog

from notifier.outages import DATABASE_OUTAGE
from notifier.stream.connection import Connection, StreamKind, Viewer
from notifier.stream.frames import METER, meter_frame
from notifier.stream.hub import StreamHub
from notifier.stream.repository import StreamRepository
from polaris_common.db import Database, UnitOfWork
from polaris_common.events.catalogue import SessionBilled, SessionStarted, SessionStopped
from polaris_common.http.errors import ServiceUnavailable, Unauthorized
from polaris_common.identity.principals import Driver
from polaris_common.identity.sessions import SignedIn, resolve_session

CUSTOMER = StreamKind("customer", frozenset({SessionStarted.type, SessionStopped.type, SessionBilled.type, METER}))
"""What drivers' apps show live. Who opens it sees their own and public events, operators too."""

MAX_EVENT_ID = 2**63 - 1

log = structlog.get_logger(__name__)


class StreamOpener:
    """Opens streams for signed-in people."""

    def __init__(self, database: Database, hub: StreamHub, reads: asyncio.Semaphore, *, max_pending: int) -> None:
        self._database, self._hub, self._reads = database, hub, reads
        self._max_pending = max_pending

    async def open_customer(self, tokens: Iterable[str], *, last_event_id: int | None) -> Connection:
        """A stream of what concerns the person behind one of ``tokens``; first the state of their open sessions.

        Raises:
            Unauthorized: no token stands for a live session.
            StreamLimit: the process is full.
            ServiceUnavailable: the database is away.
        """
        try:
            async with self._reads, self._database.unit_of_work() as uow:
                signed_in = await _signed_in(uow, tokens)
                connection = self._connection(CUSTOMER, signed_in, last_event_id)
                self._hub.add(connection)  # before the state is read, so no change falls between the two
                try:
                    meters = await StreamRepository(uow).live_meters_of(signed_in.user.id)
                except BaseException:
                    self._hub.remove(connection)
                    raise
        except DATABASE_OUTAGE as error:
            log.warning("stream_not_opened", error=type(error).__name__)
            raise ServiceUnavailable(headers={"Retry-After": "5"}) from error
        connection.offer_first([meter_frame(telemetry) for telemetry in meters])
        return connection

    def _connection(self, kind: StreamKind, signed_in: SignedIn, last_event_id: int | None) -> Connection:
        user = signed_in.user
        level = self._hub.last_seq
        return Connection(
            kind,
            Viewer(user.id, signed_in.session_id, user.role, Driver(user.id).audiences),
            position=level if last_event_id is None else last_event_id,
            behind=last_event_id not in (None, level),
            max_pending=self._max_pending,
        )


def read_event_id(header: str | None) -> int | None:
    """The number in ``Last-Event-ID``, or None when it is no integer above 0."""
    if header is None or not header.isascii() or not header.isdigit() or len(header) > 100:
        return None
    return min(int(header), MAX_EVENT_ID) or None


async def _signed_in(uow: UnitOfWork, tokens: Iterable[str]) -> SignedIn:
    for token in tokens:
        signed_in = await resolve_session(uow, token)
        if signed_in is not None:
            return signed_in
    raise Unauthorized
