"""How many requests Lago gets from this process, and when it has had enough.

Lago Cloud counts all keys of an organisation together and says only in its answers what is left (lago.md §1.0), so no
process can know its share beforehand. Each keeps below a ceiling of its own, and where that is still too much, all who
are told so (429) slow down by half and come back step by step. A self-hosted Lago has no limit and is spared bursts.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum

BURST_SECONDS = 1.0
"""An idle second's worth of requests may go at once."""
READS_SHARE = 0.5
"""Reads get at most this part, so that events always have the rest."""
PATIENCE_SECONDS = 5.0
"""A longer pause is told to the caller, not waited for."""
DEFAULT_PAUSE_SECONDS = 1.0
RECOVERY_STEPS = 100
"""So many answered requests bring the rate back from nothing."""


class Lane(StrEnum):
    """What a request is for."""

    EVENTS = "events"
    READS = "reads"


class PausedByLago(Exception):
    """Lago wants no such request for another ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"paused for {seconds:.0f} s")
        self.seconds = seconds


class _Bucket:
    """Requests of one kind, at most ``ceiling`` a second (0: as many as one likes)."""

    def __init__(self, ceiling: float) -> None:
        self.rate = self._ceiling = ceiling
        self._booked_until = float("-inf")

    def book(self, now: float) -> float:
        """Take the next place in the queue; the seconds until it."""
        if not self._ceiling:
            return 0.0
        self._booked_until = max(self._booked_until, now - BURST_SECONDS) + 1 / self.rate
        return max(self._booked_until - now, 0.0)

    def slow_down(self) -> None:
        """Half as fast."""
        self.rate = max(self.rate / 2, self._ceiling / RECOVERY_STEPS)

    def recover(self) -> None:
        """A step back towards the ceiling."""
        self.rate = min(self.rate + self._ceiling / RECOVERY_STEPS, self._ceiling)


class RequestBudget:
    """One process's requests to one Lago."""

    def __init__(
        self,
        per_second: float = 0,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._now, self._sleep = now, sleep
        self._all, self._reads = _Bucket(per_second), _Bucket(per_second * READS_SHARE)
        self._paused_until = dict.fromkeys(Lane, float("-inf"))

    @property
    def per_second(self) -> float:
        """The rate now, which is below the ceiling after Lago has said "too many"; 0: no ceiling."""
        return self._all.rate

    def pause(self, lane: Lane) -> float:
        """The seconds for which Lago wants no such request."""
        return max(self._paused_until[lane] - self._now(), 0.0)

    async def take(self, lane: Lane) -> None:
        """Wait until a request may go.

        Raises:
            PausedByLago: that would take too long.
        """
        pause = self.pause(lane)
        if pause > PATIENCE_SECONDS:
            raise PausedByLago(pause)
        await self._wait(pause)
        if lane is Lane.READS:
            await self._wait(self._reads.book(self._now()))
        await self._wait(self._all.book(self._now()))

    def refused(self, lane: Lane, *, retry_after: float | None) -> None:
        """Lago has said "too many" (429). Where it takes no events, it is not asked for anything else either."""
        if not self.pause(lane):
            self._all.slow_down()
            self._reads.slow_down()
        self._pause(lane, DEFAULT_PAUSE_SECONDS if retry_after is None else retry_after)

    def answered(self, lane: Lane, *, remaining: int | None, reset: float | None) -> None:
        """Lago has answered, perhaps with what is ``remaining`` until the ``reset`` in so many seconds."""
        self._all.recover()
        self._reads.recover()
        if remaining == 0 and reset is not None:
            self._pause(lane, reset)

    def _pause(self, lane: Lane, seconds: float) -> None:
        for each in Lane if lane is Lane.EVENTS else (lane,):
            self._paused_until[each] = max(self._paused_until[each], self._now() + seconds)

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            await self._sleep(seconds)
