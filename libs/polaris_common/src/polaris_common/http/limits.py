"""Rate limits: how often one caller may do one thing, counted in Redis over a moving window for all replicas together.

A busy caller is counted in small lots: the process takes a few turns at once from Redis and hands them out itself, so
most requests cost no round trip, and the limit is never exceeded however many replicas there are.
While Redis is away each process counts for itself; buckets that guard credentials refuse instead (503).
"""

import hashlib
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError
from redis.asyncio import ConnectionPool
from starlette.types import Scope

from polaris_common.http.errors import ApiError, ServiceUnavailable

REDIS_TIMEOUT_SECONDS = 0.25
REDIS_PAUSE_SECONDS = 1.0
"""After a failure ordinary buckets leave Redis alone for so long."""
LOT_SECONDS = 1.0
"""How long turns that were taken at once stay good."""
MAX_LOTS = 20_000
"""Callers whose turns one process remembers."""
_STATE = "turns"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Turns:
    """How a caller stands after a turn was taken."""

    limit: int
    remaining: int
    reset_at: float
    """Unix time when the first of the used turns comes back."""

    @property
    def headers(self) -> dict[str, str]:
        """As every answer tells it."""
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(math.ceil(self.reset_at)),
        }


class RateLimited(ApiError):
    """The caller asked too often."""

    status, code, message = 429, "rate_limited", "Too many requests."

    def __init__(self, *, limit: int, reset_at: float) -> None:
        now = time.time()
        wait = max(1, math.floor(reset_at - now) + 1)
        super().__init__(
            f"Too many requests. Try again in {wait} s.",
            headers={"retry-after": str(wait), **Turns(limit, 0, now + wait).headers},
        )


@dataclass(frozen=True)
class Bucket:
    """``amount`` turns in any ``seconds`` for each key."""

    name: str
    amount: int
    seconds: int = 60
    guards_credentials: bool = False
    """Counted one by one, and refused while they cannot be counted."""


@dataclass
class _Lot:
    """What this process knows of one caller: turns in hand until ``good_until``, or that none is left."""

    left: int = 0
    beyond: int = 0
    """What Redis had left beside those in hand when they were taken."""
    limit: int = 0
    reset_at: float = 0.0
    taken: int = 0
    good_until: float = 0.0
    refused_until: float = 0.0
    """Unix time of the next free turn, when Redis said that there is none before."""

    @property
    def turns(self) -> Turns:
        """How the caller stands."""
        return Turns(self.limit, self.left + self.beyond, self.reset_at)


class RateLimits:
    """Counts turns."""

    def __init__(self, redis_url: str, *, scale: float = 1.0) -> None:
        """``scale`` multiplies every limit."""
        self._scale = scale
        self._connections = ConnectionPool.from_url(
            redis_url, socket_timeout=REDIS_TIMEOUT_SECONDS, socket_connect_timeout=REDIS_TIMEOUT_SECONDS
        )
        # Its types know only simple options; the pool is handed on to redis-py.
        options: dict[str, Any] = {"connection_pool": self._connections}
        storage = RedisStorage("redis://", wrap_exceptions=True, implementation="redispy", **options)
        self._redis = MovingWindowRateLimiter(storage)
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._lots: OrderedDict[tuple[str, ...], _Lot] = OrderedDict()
        self._pause_until = 0.0

    async def spend(self, bucket: Bucket, *key: str) -> Turns:
        """Take one turn of ``bucket`` for whoever ``key`` names; how they stand then.

        Raises:
            RateLimited: none is left.
            ServiceUnavailable: the bucket guards credentials and Redis is away.
        """
        lot = self._lot((bucket.name, *key))
        if lot.left > 0 and time.monotonic() < lot.good_until:
            lot.left -= 1
            return lot.turns
        item = RateLimitItemPerSecond(max(1, round(bucket.amount * self._scale)), bucket.seconds)
        if lot.refused_until > time.time():
            raise RateLimited(limit=item.amount, reset_at=lot.refused_until)
        if bucket.guards_credentials:
            await self._spend_one(bucket, item, key, lot)
        else:
            await self._spend_lot(bucket, item, key, lot)
        return lot.turns

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._connections.aclose()

    async def _spend_one(self, bucket: Bucket, item: RateLimitItem, key: tuple[str, ...], lot: _Lot) -> None:
        try:
            await _take(self._redis, item, _names(bucket, key), lot, 1)
        except StorageError as error:
            log.warning("rate_limit_uncounted", bucket=bucket.name, error=type(error.storage_error).__name__)
            raise ServiceUnavailable from None

    async def _spend_lot(self, bucket: Bucket, item: RateLimitItem, key: tuple[str, ...], lot: _Lot) -> None:
        names = _names(bucket, key)
        if time.monotonic() >= self._pause_until:
            try:
                await _take(self._redis, item, names, lot, _wanted(lot, item))
                return
            except StorageError as error:
                log.warning("rate_limit_local", bucket=bucket.name, error=type(error.storage_error).__name__)
                self._pause_until = time.monotonic() + REDIS_PAUSE_SECONDS
        await _take(self._own, item, names, lot, 1)

    def _lot(self, key: tuple[str, ...]) -> _Lot:
        lot = self._lots.get(key)
        if lot is None:
            lot = self._lots[key] = _Lot()
            if len(self._lots) > MAX_LOTS:
                self._lots.popitem(last=False)
        return lot


async def _take(
    limiter: MovingWindowRateLimiter, item: RateLimitItem, names: tuple[str, str], lot: _Lot, wanted: int
) -> None:
    if wanted > 1 and await limiter.hit(item, *names, cost=wanted):
        taken = wanted
    elif await limiter.hit(item, *names):
        taken = 1
    else:
        lot.refused_until = (await limiter.get_window_stats(item, *names)).reset_time
        raise RateLimited(limit=item.amount, reset_at=lot.refused_until)
    stats = await limiter.get_window_stats(item, *names)
    lot.limit, lot.beyond, lot.reset_at = item.amount, stats.remaining, stats.reset_time
    lot.left += taken - 1
    lot.taken, lot.good_until = taken, time.monotonic() + LOT_SECONDS


def note_turns(scope: Scope, turns: Turns) -> None:
    """Let the answer tell how its caller stands; of several limits the one with the fewest turns left."""
    state = scope.setdefault("state", {})
    known = state.get(_STATE)
    if not isinstance(known, Turns) or turns.remaining < known.remaining:
        state[_STATE] = turns


def turns_of(scope: Scope) -> Turns | None:
    """What was noted, if anything was."""
    turns = scope.get("state", {}).get(_STATE)
    return turns if isinstance(turns, Turns) else None


def _wanted(lot: _Lot, item: RateLimitItem) -> int:
    """Twice as many as last time while they are used up in time; one when they were not."""
    if lot.left > 0 or time.monotonic() >= lot.good_until:
        lot.left = 0
        return 1
    return max(1, min(lot.taken * 2, item.amount // 20))


def _names(bucket: Bucket, key: tuple[str, ...]) -> tuple[str, str]:
    """What Redis calls the counter: it learns no address, e-mail or token."""
    return bucket.name, hashlib.blake2b("\0".join(key).encode(), digest_size=16).hexdigest()
