"""Bringing one connection level with the hub by reading the log from its own position."""

import asyncio
from dataclasses import dataclass

import structlog

from notifier.outages import DATABASE_OUTAGE
from notifier.stream.connection import Connection
from notifier.stream.frames import LoggedEvent
from notifier.stream.hub import StreamHub
from polaris_common.db import Database
from polaris_common.events import log as event_log

BATCH = 200
RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Page:
    """What the log says after a connection's position; ``reaches`` is how far the page goes."""

    encoded: bytes
    reaches: int
    last_sent: int
    ends: bool = False
    """The stream is over with it."""


class CatchUp:
    """Reads the log for connections that are behind, a limited number at a time."""

    def __init__(self, database: Database, hub: StreamHub, reads: asyncio.Semaphore) -> None:
        self._database, self._hub, self._reads = database, hub, reads

    async def next(self, connection: Connection) -> bytes:
        """The next frames for ``connection``, which is no longer behind once it is level with the hub.

        While the database is away: nothing, after a second or as soon as something else waits to be sent.
        """
        try:
            page = await self._read(connection)
        except DATABASE_OUTAGE as error:
            log.warning("catch_up_interrupted", error=type(error).__name__)
            await connection.wait(RETRY_SECONDS)
            return b""
        connection.position = page.reaches
        if page.ends:
            connection.close()
            return page.encoded
        if page.reaches < self._hub.last_seq:
            return page.encoded
        connection.behind = False
        return page.encoded if page.last_sent == page.reaches else page.encoded + connection.kind.moved(page.reaches)

    async def _read(self, connection: Connection) -> _Page:
        after, kind = connection.position, connection.kind
        async with self._reads, self._database.unit_of_work() as uow:
            newest = await event_log.last_seq(uow)
            rows = await event_log.read_after(
                uow, after, audiences=list(connection.viewer.audiences), types=list(kind.types), limit=BATCH
            )
            events = [LoggedEvent(row.seq, row.type, row.payload) for row in rows]
            frames = await kind.replay(uow, events)
            # Asked last: partitions go oldest first, so what is still there was there while the rows were read.
            complete = await event_log.reaches_back_to(uow, after, newest=newest)
        if not complete:
            log.info("stream_resync", reason=connection.reason, after=after, newest=newest)
            return _Page(kind.resync(connection.reason, newest), newest, newest)
        reaches = rows[-1].seq if len(rows) == BATCH else max([newest, *(row.seq for row in rows[-1:])])
        ends = next((at for at, frame in enumerate(frames) if frame.is_last), None)
        sent = frames if ends is None else frames[: ends + 1]
        encoded = b"".join([frame.encoded for frame in sent])
        return _Page(encoded, reaches, (sent[-1].seq or after) if sent else after, ends=ends is not None)
