"""The simulated wall clock that a test, the demo or the replay controls."""

import time
from datetime import UTC, datetime, timedelta


class SimClock:
    """A clock that follows real time until it is set, and can run faster than real time.

    All times are aware UTC datetimes.
    """

    def __init__(self, start: datetime | None = None, *, speed: float = 1.0) -> None:
        self._anchor_real = time.monotonic()
        self._anchor = start or datetime.now(UTC)
        self._speed = speed

    @property
    def speed(self) -> float:
        """How many times as fast as real time it runs."""
        return self._speed

    def now(self) -> datetime:
        """The simulated time."""
        return self._anchor + timedelta(seconds=(time.monotonic() - self._anchor_real) * self._speed)

    def set(self, moment: datetime) -> None:
        """Jump to an aware ``moment``; time goes on from there."""
        if moment.tzinfo is None:
            raise ValueError("the simulated clock needs a time with a zone")
        self._anchor, self._anchor_real = moment.astimezone(UTC), time.monotonic()

    def advance(self, seconds: float) -> None:
        """Jump by ``seconds`` (negative: back)."""
        self.set(self.now() + timedelta(seconds=seconds))

    def run_at(self, speed: float) -> None:
        """Let simulated time pass ``speed`` times as fast as real time; 0 freezes it."""
        self.set(self.now())
        self._speed = speed
