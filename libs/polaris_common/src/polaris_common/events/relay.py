"""The relay: numbers domain events in commit order and tells every notifier that there is something new.

It runs as a task in every worker process; whoever holds the advisory lock leads, the others stand by. An event is
visible to the relay only after its transaction committed, and numbering itself is a transaction, so a reader that has
seen ``seq`` n never finds a smaller number later.
"""

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from polaris_common.db import AdvisoryLock, Database, LockName
from polaris_common.events.outbox import CHANNEL

EVENTS_CHANNEL = "polaris:events"
"""Redis channel: the message is the highest ``seq``; a hint to read the log, which is the truth."""

BATCH = 1_000
IDLE_POLL_SECONDS = 1.0
STANDBY_SECONDS = 1.0

log = structlog.get_logger(__name__)

_NUMBER = """
WITH relay AS (
    SELECT last_seq FROM event_relay WHERE id = 1 FOR UPDATE
), batch AS (
    SELECT id, created_at, row_number() OVER (ORDER BY created_at, id) AS n
    FROM (SELECT id, created_at FROM domain_events WHERE seq IS NULL ORDER BY created_at, id LIMIT $1) AS waiting
), numbered AS (
    UPDATE domain_events AS e SET seq = relay.last_seq + batch.n
    FROM batch, relay WHERE e.id = batch.id AND e.created_at = batch.created_at
    RETURNING e.seq
), advanced AS (
    UPDATE event_relay SET last_seq = (SELECT max(seq) FROM numbered)
    WHERE id = 1 AND EXISTS (SELECT 1 FROM numbered)
)
SELECT max(seq) FROM numbered
"""


class EventRelay:
    """One candidate for leading the relay."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database, self._redis = database, redis
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Lead whenever nobody else does, until cancelled; survives every database and Redis outage."""
        while True:
            try:
                async with AdvisoryLock(self._database, LockName.EVENT_RELAY) as lock:
                    if lock.held:
                        await self._lead(lock.connection)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("relay_interrupted", error=type(error).__name__)
            await asyncio.sleep(STANDBY_SECONDS)

    async def _lead(self, connection: "asyncpg.Connection[Any]") -> None:
        await connection.add_listener(CHANNEL, self._on_notify)
        while True:
            self._wake.clear()
            last_seq = await number_waiting(connection)
            if last_seq is not None:
                await self._announce(last_seq)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), IDLE_POLL_SECONDS)

    def _on_notify(self, *_: object) -> None:
        self._wake.set()

    async def _announce(self, last_seq: int) -> None:
        try:
            await self._redis.publish(EVENTS_CHANNEL, str(last_seq))
        except (OSError, RedisError) as error:
            log.warning("relay_announcement_lost", error=type(error).__name__)


async def number_waiting(connection: "asyncpg.Connection[Any]", limit: int = BATCH) -> int | None:
    """Number up to ``limit`` waiting events; the highest number given, or None if nothing waits."""
    last_seq: int | None = await connection.fetchval(_NUMBER, limit)
    return last_seq
