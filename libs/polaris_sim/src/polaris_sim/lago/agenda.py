"""What Lago's background clock has to do, and when."""

import heapq
from collections.abc import Callable
from itertools import count

Action = Callable[[int], None]
"""Gets the time (microseconds) at which it was due."""


class Agenda:
    """Jobs ordered by their time; nothing happens until ``run_until`` is called."""

    def __init__(self) -> None:
        self._jobs: list[tuple[int, int, Action]] = []
        self._numbers = count()

    def at(self, time: int, action: Action) -> None:
        """Do ``action`` once the clock has reached ``time``."""
        heapq.heappush(self._jobs, (time, next(self._numbers), action))

    def run_until(self, now: int) -> None:
        """Do everything that is due, in order, including what those jobs schedule."""
        while self._jobs and self._jobs[0][0] <= now:
            time, _, action = heapq.heappop(self._jobs)
            action(time)
