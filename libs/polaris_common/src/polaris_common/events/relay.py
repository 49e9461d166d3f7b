"""The relay: numbers domain events in commit order and tells every notifier that there is something new.

It runs as a task in every worker process; whoever holds the advisory lock leads, the others stand by. An event is
visible to the relay only after its transaction committed, and numbering itself is a transaction, so a reader that has
seen ``seq`` n never finds a smaller number later.

Transactions that commit between two passes of the relay are numbered in the order in which they appended their events.
That keeps cause before effect: appending is the last thing a unit of work does, so one that has seen another's work
appends after it.
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
STATEMENT_SECONDS = 30.0
ANNOUNCE_SECONDS = 0.5

log = structlog.get_logger(__name__)

_TRY_TO_LEAD = "SELECT pg_try_advisory_lock($1)"

# A leader whose machine vanished frees the lock within seconds instead of hours.
_NOTICE_DEAD_PEERS = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3"

_WAITING = "SELECT EXISTS (SELECT 1 FROM domain_events WHERE seq IS NULL)"

# Locked by a statement of its own: the next statement's snapshot is then newer than every number given so far.
_LOCK = "SELECT last_seq FROM event_relay WHERE id = 1 FOR UPDATE"

_NUMBER = """
WITH batch AS (
    SELECT id, created_at, row_number() OVER (ORDER BY created_at, id) AS n
    FROM (SELECT id, created_at FROM domain_events WHERE seq IS NULL ORDER BY created_at, id LIMIT $2) AS waiting
), numbered AS (
    UPDATE domain_events AS e SET seq = $1 + batch.n
    FROM batch WHERE e.id = batch.id AND e.created_at = batch.created_at
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
                    await self._stand_by_and_lead(lock)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                log.warning("relay_interrupted", error=type(error).__name__)
            await asyncio.sleep(STANDBY_SECONDS)

    async def _stand_by_and_lead(self, lock: AdvisoryLock) -> None:
        connection, held = lock.connection, lock.held
        try:
            await connection.execute(_NOTICE_DEAD_PEERS, timeout=STATEMENT_SECONDS)
            while not held:
                await asyncio.sleep(STANDBY_SECONDS)
                held = await connection.fetchval(_TRY_TO_LEAD, int(LockName.EVENT_RELAY), timeout=STATEMENT_SECONDS)
            log.info("relay_leads")
            await self._lead(connection)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            connection.terminate()  # a polite goodbye could wait for ever on a dead network
            raise

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
            async with asyncio.timeout(ANNOUNCE_SECONDS):
                await self._redis.publish(EVENTS_CHANNEL, str(last_seq))
        except (OSError, RedisError) as error:
            log.warning("relay_announcement_lost", error=type(error).__name__)


async def number_waiting(connection: "asyncpg.Connection[Any]", limit: int = BATCH) -> int | None:
    """Number up to ``limit`` waiting events; the highest number given, or None if nothing waits.

    Safe to run on several connections at once: they take turns.
    """
    if not await connection.fetchval(_WAITING, timeout=STATEMENT_SECONDS):
        return None
    async with connection.transaction():
        given = await connection.fetchval(_LOCK, timeout=STATEMENT_SECONDS)
        last_seq: int | None = await connection.fetchval(_NUMBER, given, limit, timeout=STATEMENT_SECONDS)
    return last_seq
