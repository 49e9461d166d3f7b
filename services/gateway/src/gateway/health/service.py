"""How the platform is doing: our own look at the database, and what the workers report about everything else."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from gateway.health.repository import a_sync_run_is_stuck, last_sync_run
from gateway.health.schemas import Check, Checks, HealthRead, Status
from polaris_common.clock import Clock, to_wire
from polaris_common.db import Database
from polaris_common.models import ComponentHealth
from polaris_common.observability.health import STALE_AFTER_SECONDS, Component, read

CACHE_SECONDS = 2.0
DATABASE_TIMEOUT_SECONDS = 3.0
REDIS_TIMEOUT_SECONDS = 1.0

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SEVERITY = [Status.OK, Status.DEGRADED, Status.UNHEALTHY]
_UNKNOWN = Check(status=Status.DEGRADED, error="unknown")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Cached:
    health: HealthRead
    until: float


class HealthService:
    """Answers health questions, looking at most once in two seconds however many ask."""

    def __init__(self, database: Database, clock: Clock, *, ping_redis: Callable[[], Awaitable[object]]) -> None:
        self._database, self._clock, self._ping_redis = database, clock, ping_redis
        self._cached: _Cached | None = None
        self._looking = asyncio.Lock()

    async def health(self) -> HealthRead:
        """The health of the platform, at most two seconds old."""
        async with self._looking:
            if self._cached is None or self._cached.until <= time.monotonic():
                self._cached = _Cached(await self._look(), time.monotonic() + CACHE_SECONDS)
            return self._cached.health

    async def database_reachable(self) -> bool:
        """Whether the database answers right now."""
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS):
                await self._database.ping()
        except (OSError, SQLAlchemyError) as error:
            log.warning("database_unreachable", error=type(error).__name__)
            return False
        return True

    async def _look(self) -> HealthRead:
        began = time.perf_counter()
        if not await self.database_reachable():
            down = Check(status=Status.UNHEALTHY, error="unreachable")
            redis = await self._redis()
            return self._summary(Checks(database=down, steve=_UNKNOWN, lago=_UNKNOWN, sync=_UNKNOWN, redis=redis))
        latency_ms = round((time.perf_counter() - began) * 1000, 1)
        database = Check(status=Status.OK, latency_ms=latency_ms)
        return self._summary(await self._with_components(database))

    async def _redis(self) -> Check:
        """Jobs and live data go by Redis; without it everything still works, only later."""
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                await self._ping_redis()
        except (OSError, RedisError) as error:
            log.warning("redis_unreachable", error=type(error).__name__)
            return Check(status=Status.DEGRADED, error="unreachable")
        return Check(status=Status.OK)

    async def _with_components(self, database: Check) -> Checks:
        redis = await self._redis()
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS), self._database.unit_of_work() as uow:
                rows, sync_run = await read(uow), await last_sync_run(uow)
                stuck = await a_sync_run_is_stuck(uow)
        except (OSError, SQLAlchemyError) as error:
            log.warning("health_unreadable", error=type(error).__name__)
            return Checks(database=database, steve=_UNKNOWN, lago=_UNKNOWN, sync=_UNKNOWN, redis=redis)
        steve, lago, sync = (judge(rows.get(name)) for name in (Component.STEVE, Component.LAGO, Component.SYNC))
        if stuck and sync.status is Status.OK:
            sync = Check(status=Status.DEGRADED, error="run_stuck", last_success_at=sync.last_success_at)
        sync = sync.model_copy(update={"last_run": _time(sync_run)})
        return Checks(database=database, steve=steve, lago=lago, sync=sync, redis=redis)

    def _summary(self, checks: Checks) -> HealthRead:
        every = (checks.database, checks.steve, checks.lago, checks.sync, checks.redis)
        worst = max((check.status for check in every), key=_SEVERITY.index)
        return HealthRead(status=worst, timestamp=to_wire(self._clock.now()), checks=checks)


def judge(reported: tuple[ComponentHealth, datetime] | None) -> Check:
    """What a worker's report, with the database's time beside it, means now.

    Only the database makes the platform unhealthy, so anything but fine is degraded.
    """
    if reported is None:
        return Check(status=Status.DEGRADED, error="not_reported")
    row, now = reported
    last_success_at = _time(row.last_success_at)
    if now - row.checked_at > timedelta(seconds=STALE_AFTER_SECONDS):
        return Check(status=Status.DEGRADED, error="stale", last_success_at=last_success_at)
    if row.status == Status.OK:
        return Check(status=Status.OK, last_success_at=last_success_at)
    return Check(status=Status.DEGRADED, error=as_code(row.error), last_success_at=last_success_at)


def as_code(error: str | None) -> str:
    return error if error and _CODE.fullmatch(error) else "failing"


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else to_wire(moment)
