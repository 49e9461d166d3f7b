"""Taps that SteVe has signed with their time: neither old ones nor repeats of recent ones decide anything.

Off unless a largest age is configured, because the time that SteVe's fork signs is only as good as its clock.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.ocpp.schemas import Tap
from gateway.ocpp.service import Decision
from polaris_common.domain.tap_decision import TapReason
from polaris_common.http.errors import Unauthorized

REDIS_BUDGET_SECONDS = 0.02
"""Of the 200 ms that SteVe waits."""

log = structlog.get_logger(__name__)


class Replays:
    """The answers of the last minutes, by the exact body, in Redis: every replica gives the same."""

    def __init__(self, redis: Redis, *, max_age_seconds: int | None) -> None:
        self._redis, self._max_age = redis, max_age_seconds

    async def once(self, body: bytes, tap: Tap, decide: Callable[[Tap], Awaitable[Decision]]) -> Decision:
        """The decision on ``tap``, or the one that its very body got before.

        Without Redis a repeat is decided anew.

        Raises:
            Unauthorized: the tap says no time, or one too far from now.
        """
        if self._max_age is None:
            return await decide(tap)
        if tap.sent_at is None or abs(time.time() - tap.sent_at) > self._max_age:
            raise Unauthorized("The request is too old.")
        key = f"polaris:tap:{hashlib.sha256(body).hexdigest()}"
        known = await self._known(key)
        if known is not None:
            return known
        decision = await decide(tap)
        if decision.reason is not TapReason.UNDECIDED:
            await self._keep(key, decision)
        return decision

    async def _known(self, key: str) -> Decision | None:
        try:
            async with asyncio.timeout(REDIS_BUDGET_SECONDS):
                kept = await self._redis.get(key)
        except (OSError, RedisError) as error:
            log.warning("replays_unchecked", error=type(error).__name__)
            return None
        if kept is None:
            return None
        reason, mapping_id = json.loads(kept)
        return Decision(TapReason(reason), mapping_id)

    async def _keep(self, key: str, decision: Decision) -> None:
        # A body may come back as long as its time is acceptable: from its oldest to its newest moment.
        seconds = 2 * (self._max_age or 0)
        try:
            async with asyncio.timeout(REDIS_BUDGET_SECONDS):
                await self._redis.set(key, json.dumps([decision.reason, decision.mapping_id]), ex=seconds)
        except (OSError, RedisError) as error:
            log.warning("replay_unkept", error=type(error).__name__)
