"""How many of these streams one address may have open."""

from collections import Counter

from notifier.stream.census import TooManyStreams

PER_ADDRESS = 3
IN_ALL = 500
"""Of one process."""


class Slots:
    """Counts open streams; whoever takes a slot gives it back."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def take(self, address: str) -> None:
        """Take a slot.

        Raises:
            TooManyStreams: none is left.
        """
        if self._taken[address] >= PER_ADDRESS or self._taken.total() >= IN_ALL:
            raise TooManyStreams
        self._taken[address] += 1

    def give_back(self, address: str) -> None:
        """Give a slot back."""
        self._taken[address] -= 1
        if self._taken[address] <= 0:
            del self._taken[address]
