"""Opening a stream: from where it goes on, and the state that it begins with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog

from notifier.outages import DATABASE_OUTAGE
from notifier.stream.connection import Connection, Viewer
from notifier.stream.frames import Frame
from notifier.stream.hub import StreamHub
from notifier.stream.kinds import StreamKind
from polaris_common.db import Database, UnitOfWork
from polaris_common.http.errors import ServiceUnavailable

MAX_EVENT_ID = 2**63 - 1

Beginning = Callable[[UnitOfWork], Awaitable[Sequence[Frame]]]
"""Reads the state that a stream begins with."""

log = structlog.get_logger(__name__)


class Reads:
    """Reading the database for single streams: a limited number at a time, and "later" while it is away."""

    def __init__(self, database: Database, turns: asyncio.Semaphore) -> None:
        self._database, self._turns = database, turns

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[UnitOfWork]:
        """A transaction.

        Raises:
            ServiceUnavailable: the database is away. Never a 401 then: the app would forget its credentials.
        """
        try:
            async with self._turns, self._database.unit_of_work() as uow:
                yield uow
        except DATABASE_OUTAGE as error:
            log.warning("stream_not_opened", error=type(error).__name__)
            raise ServiceUnavailable(headers={"Retry-After": "5"}) from error


class StreamOpener:
    """Opens streams for those who were let in."""

    def __init__(self, hub: StreamHub, reads: Reads, *, max_pending: int) -> None:
        self._hub, self._reads, self._max_pending = hub, reads, max_pending

    async def open(
        self, kind: StreamKind, viewer: Viewer, *, last_event_id: int | None, beginning: Beginning | None = None
    ) -> Connection:
        """A stream of ``kind`` that goes on after ``last_event_id``; what ``beginning`` reads comes first.

        Raises:
            StreamLimit, TooManyStreams: there are too many.
            ServiceUnavailable: the database is away.
        """
        level = self._hub.last_seq
        connection = Connection(
            kind,
            viewer,
            position=level if last_event_id is None else last_event_id,
            behind=last_event_id not in (None, level),
            max_pending=self._max_pending,
        )
        self._hub.add(connection)  # before the state is read, so no change falls between the two
        if beginning is None:
            return connection
        try:
            async with self._reads.unit_of_work() as uow:
                connection.offer_first(list(await beginning(uow)))
        except BaseException:
            self._hub.remove(connection)
            raise
        return connection


def read_event_id(header: str | None) -> int | None:
    """The number in ``Last-Event-ID``, or None when it is no integer above 0."""
    if header is None or not header.isascii() or not header.isdigit() or len(header) > 100:
        return None
    return min(int(header), MAX_EVENT_ID) or None
