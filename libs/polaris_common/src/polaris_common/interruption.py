"""Being asked to stop in the middle, and stopping only where it is harmless.

Whoever starts long work sets a signal over it (``interruptible_by``). The work says where it may end: before its next
step (``stop_if_asked``), or while it waits for somebody else's answer (``unless_interrupted``). Nothing is cut off
anywhere else: no transaction, and no write whose answer is still to come.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar


class Interrupted(Exception):
    """The work was asked to stop, and has stopped at a place where nothing is lost."""


class Interruption:
    """A signal that is given once."""

    def __init__(self) -> None:
        self.given = False
        self._waiting: set[asyncio.Timeout] = set()

    def give(self) -> None:
        """Ask the work to stop; what it only waits for is given up at once."""
        if not self.given:
            self.given = True
            for each in self._waiting:
                each.reschedule(0)  # long past, by the loop's clock

    @asynccontextmanager
    async def unless_given(self) -> AsyncIterator[None]:
        """Let the block wait for something until the signal is given.

        Raises:
            Interrupted: it is given, or was before.
        """
        if self.given:
            raise Interrupted
        try:
            async with asyncio.timeout(None) as wait:
                self._waiting.add(wait)
                try:
                    yield
                finally:
                    self._waiting.discard(wait)
        except TimeoutError:
            if wait.expired():
                raise Interrupted from None
            raise


_current: ContextVar[Interruption | None] = ContextVar("interruption", default=None)


@contextmanager
def interruptible_by(signal: Interruption | None) -> Iterator[None]:
    """The block, and what it calls, stops at its next harmless place once ``signal`` is given; None: it never does."""
    token = _current.set(signal)
    try:
        yield
    finally:
        _current.reset(token)


def stop_if_asked() -> None:
    """End here if the work has been asked to stop.

    Raises:
        Interrupted: it has.
    """
    signal = _current.get()
    if signal is not None and signal.given:
        raise Interrupted


@asynccontextmanager
async def unless_interrupted() -> AsyncIterator[None]:
    """Wait for something that nobody needs any more once the work is asked to stop: an answer to a question.

    Raises:
        Interrupted: it is, or was before.
    """
    signal = _current.get()
    if signal is None:
        yield
        return
    async with signal.unless_given():
        yield
