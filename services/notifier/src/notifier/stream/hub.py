"""The hub: one per process. It follows the event log and hands each event to the connections that may see it.

The log is the truth; Redis only says that there is something new and carries telemetry. Without Redis the hub looks at
the log every second. Without the database it waits and reads on from where it was.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from itertools import chain, takewhile
from random import uniform
from typing import Any

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis

from notifier.outages import DATABASE_OUTAGE, REDIS_OUTAGE
from notifier.settings import NotifierSettings
from notifier.stream.census import Census, StreamLimit, discard
from notifier.stream.connection import Connection
from notifier.stream.frames import METER, LoggedEvent, meter_frame, retry
from polaris_common import telemetry
from polaris_common.db import Database
from polaris_common.events import log as event_log
from polaris_common.events.catalogue import Audience
from polaris_common.events.relay import EVENTS_CHANNEL

POLL_SECONDS = 1.0
OUTAGE_SECONDS = 1.0
RESTART_RETRY_SECONDS = (1.0, 5.0)
"""Clients of a stopping process come back spread over this time."""

log = structlog.get_logger(__name__)


class StreamHub:
    """All connections of the process, indexed by audience: who is not indexed for an event's audience never gets it."""

    def __init__(self, database: Database, redis: Redis, settings: NotifierSettings) -> None:
        self._database, self._redis = database, redis
        self._census = Census(settings)
        self._interval = settings.sse_heartbeat_seconds
        self._by_audience: dict[str, dict[Connection, None]] = {}
        self._due: dict[Connection, float] = {}
        self._news = asyncio.Event()
        self._stopping = False
        self.last_seq = 0
        """Every event up to this number has been handed out."""

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._due))

    async def start(self) -> None:
        """Begin at the end of the log.

        Raises:
            OSError, SQLAlchemyError: the database cannot be reached or has no event log.
        """
        async with self._database.unit_of_work() as uow:
            self.last_seq = await event_log.last_seq(uow)

    def add(self, connection: Connection) -> None:
        """Feed ``connection`` from now on; a principal's oldest stream makes room for their newest.

        Raises:
            StreamLimit: the process, or this class of streams, is full, or the process is about to stop.
            TooManyStreams: the place that it comes from has as many as it may.
        """
        if self._stopping:
            raise StreamLimit
        oldest = self._census.one_too_many(connection)
        if oldest is not None:
            self.remove(oldest)
            oldest.close(oldest.kind.replaced(oldest.position))
        self._census.add(connection)
        self._due[connection] = time.monotonic() + self._interval
        for audience in connection.viewer.audiences:
            self._by_audience.setdefault(audience, {})[connection] = None

    def remove(self, connection: Connection) -> None:
        """Forget ``connection``; safe to repeat."""
        if connection not in self._due:
            return
        del self._due[connection]
        self._census.remove(connection)
        for audience in connection.viewer.audiences:
            discard(self._by_audience, audience, connection)

    def due(self) -> list[Connection]:
        """The connections whose heartbeat is due; each comes again an interval later."""
        now = time.monotonic()
        found = [connection for connection, _ in takewhile(lambda entry: entry[1] <= now, self._due.items())]
        for connection in found:  # to the end: the order of the dictionary is the order of the times
            del self._due[connection]
            self._due[connection] = now + self._interval
        return found

    def stop(self) -> None:
        """End every stream, telling each client to come back at a moment of its own; take no new ones."""
        self._stopping = True
        for connection in self:
            connection.close(retry(uniform(*RESTART_RETRY_SECONDS)))

    async def follow_log(self) -> None:
        """Hand out new events as they are numbered, until cancelled."""
        while True:
            self._news.clear()
            try:
                more = await self._advance()
            except DATABASE_OUTAGE as error:
                log.warning("event_log_unreachable", error=type(error).__name__)
                await asyncio.sleep(OUTAGE_SECONDS)
                continue
            if not more:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), POLL_SECONDS)

    async def follow_redis(self) -> None:
        """Listen for news and telemetry, until cancelled."""
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(EVENTS_CHANNEL, telemetry.CHANNEL)
                    self._news.set()
                    async for message in subscription.listen():
                        self._hear(message)
            except REDIS_OUTAGE as error:
                log.warning("redis_unreachable", error=type(error).__name__)
            await asyncio.sleep(OUTAGE_SECONDS)

    async def _advance(self) -> bool:
        async with self._database.unit_of_work() as uow:
            rows = await event_log.read_after(uow, self.last_seq)
            newest = None if rows else await event_log.last_seq(uow)
        if newest is not None:
            if newest < self.last_seq:
                self._start_over(newest)
            return False
        if rows[0].seq != self.last_seq + 1:
            self._start_over(rows[0].seq - 1)
        for row in rows:
            self._hand_out(row)
        return True

    def _hand_out(self, row: Any) -> None:
        self.last_seq = row.seq
        viewers = self._viewers(row.audience)
        if viewers:
            event = LoggedEvent(row.seq, row.type, row.payload)
            for connection in viewers:
                connection.hear(event)

    def _hear(self, message: dict[str, Any]) -> None:
        if message["channel"] == EVENTS_CHANNEL.encode():
            self._news.set()
            return
        try:
            measured = telemetry.MeterTelemetry.model_validate_json(message["data"])
        except ValidationError:
            log.warning("telemetry_unreadable")
            return
        viewers = self._viewers(Audience.operators_and(measured.user_id).names)
        if viewers:
            frame = meter_frame(measured)
            for connection in viewers:
                connection.show(METER, frame)

    def _viewers(self, audiences: Iterable[str]) -> Collection[Connection]:
        found = [self._by_audience[name] for name in audiences if name in self._by_audience]
        return dict.fromkeys(chain.from_iterable(found))

    def _start_over(self, seq: int) -> None:
        """The log is not the one we followed (restored, or cut short while we were away): everybody re-reads it."""
        log.error("event_log_broken_off", followed_to=self.last_seq, continues_at=seq)
        self.last_seq = seq
        for connection in self:
            connection.fall_behind("log_broken_off")
