"""Queues, typed enqueueing and the arq worker's settings."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from math import ceil
from typing import Any

import structlog
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Function, Worker, func
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from polaris_common.settings import RedisSettings as RedisAddress

log = structlog.get_logger(__name__)

COALESCE_SECONDS = 0.25
POLL_SECONDS = 0.1
STOP_LOOKS_AFTER_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""When a stop that is about to come is looked for: its last samples may arrive at ours before it arrives at SteVe."""


class Queue(StrEnum):
    """The queue of each service that has jobs."""

    SYNC_WORKER = "polaris:sync-worker"
    BILLING_BRIDGE = "polaris:billing-bridge"
    NOTIFIER = "polaris:notifier"


class JobName(StrEnum):
    """Every job there is."""

    LIVE_POLL = "live_poll"
    EXPECTED_STOPS = "expected_stops"
    SYNC_RUN = "sync_run"
    OPERATIONS = "operations"
    BILL_DUE = "bill_due"
    SEND_EVENTS = "send_events"


class Jobs:
    """Puts jobs on queues.

    Signals of one kind that arrive within a quarter of a second become one job at the end of that quarter: bursts never
    grow a queue, and a signal that arrives while a job runs always leads to another one.
    """

    def __init__(self, settings: RedisAddress) -> None:
        self.redis = ArqRedis(connection_pool=ConnectionPool.from_url(settings.redis_url, socket_connect_timeout=2))

    async def live_poll(self) -> None:
        """SteVe's open transactions may have changed."""
        await self._coalesced(Queue.SYNC_WORKER, JobName.LIVE_POLL)

    async def expected_stops(self) -> None:
        """A transaction is about to end: SteVe is to be asked for its stop, now and some more times."""
        for seconds in STOP_LOOKS_AFTER_SECONDS:
            await self._coalesced(Queue.SYNC_WORKER, JobName.EXPECTED_STOPS, after_seconds=seconds)

    async def sync_run(self) -> None:
        """Somebody has requested a sync run."""
        await self._coalesced(Queue.SYNC_WORKER, JobName.SYNC_RUN)

    async def operations(self) -> None:
        """Somebody wants a charger to do something."""
        await self._coalesced(Queue.SYNC_WORKER, JobName.OPERATIONS)

    async def bill_due(self) -> None:
        """Sessions or readings have changed."""
        await self._coalesced(Queue.BILLING_BRIDGE, JobName.BILL_DUE)

    async def send_events(self) -> None:
        """Lago events wait."""
        await self._coalesced(Queue.BILLING_BRIDGE, JobName.SEND_EVENTS)

    async def close(self) -> None:
        """Close the connections."""
        await self.redis.aclose()

    async def _coalesced(self, queue: Queue, job: JobName, *, after_seconds: float = 0.0) -> None:
        bucket = ceil((datetime.now(UTC).timestamp() + after_seconds) / COALESCE_SECONDS)
        run_at = datetime.fromtimestamp(bucket * COALESCE_SECONDS, UTC)
        try:
            await self.redis.enqueue_job(job, _job_id=f"{job}:{bucket}", _queue_name=queue, _defer_until=run_at)
        except (OSError, RedisError) as error:
            log.warning("job_hint_lost", job=job, error=type(error).__name__)


class JobWorker:
    """Runs one service's jobs until cancelled; reconnects when Redis was away."""

    def __init__(
        self, settings: RedisAddress, queue: Queue, jobs: Sequence[tuple[JobName, Callable[[], Awaitable[None]]]]
    ) -> None:
        self._settings, self._queue = settings, queue
        self._functions = [_as_function(name, job) for name, job in jobs]

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            worker = Worker(
                functions=self._functions,
                queue_name=self._queue,
                redis_settings=RedisSettings.from_dsn(self._settings.redis_url),
                handle_signals=False,
                poll_delay=POLL_SECONDS,
                max_jobs=len(self._functions),
                job_timeout=300,
                keep_result=0,
                max_tries=1,
            )
            try:
                await worker.async_run()
            except (OSError, RedisError) as error:
                log.warning("queue_unreachable", queue=self._queue, error=type(error).__name__)
            finally:
                with suppress(OSError, RedisError):
                    await worker.close()
            await asyncio.sleep(1)


def _as_function(name: JobName, job: Callable[[], Awaitable[None]]) -> Function:
    async def run(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> None:
        await job()

    return func(run, name=name, keep_result=0)
