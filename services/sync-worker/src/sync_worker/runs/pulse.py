"""Something that happens regularly and, when somebody rings, at once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from polaris_common.db.outages import DATABASE_TROUBLE

log = structlog.get_logger(__name__)

BUSY_SECONDS = 1.0


class Pulse:
    """Runs ``action`` every ``seconds`` (None: only when rung), one at a time; rings meanwhile are one more time.

    An action that answers False could not work now and is tried again a second later. An outage of the database is
    logged and survived. Whoever cancels the pulse waits up to ``finish_within`` seconds for an action that is at work.
    """

    def __init__(
        self,
        name: str,
        action: Callable[[], Awaitable[bool | None]],
        *,
        seconds: float | None,
        finish_within: float = 0.0,
    ) -> None:
        self._name, self._action, self._seconds, self._finish_within = name, action, seconds, finish_within
        self._rung = asyncio.Event()
        self.first_done = asyncio.Event()

    async def ring(self) -> None:
        """Act at once."""
        self._rung.set()

    async def run(self) -> None:
        """Act now and then, until cancelled."""
        while True:
            self._rung.clear()
            wait = self._seconds
            try:
                if await self._act() is False:
                    wait = BUSY_SECONDS
            except DATABASE_TROUBLE as error:
                log.warning("sweep_failed", sweep=self._name, error=type(error).__name__)
            self.first_done.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._rung.wait(), wait)

    async def _act(self) -> bool | None:
        action = asyncio.ensure_future(self._action())
        try:
            return await asyncio.shield(action)
        except asyncio.CancelledError:
            await asyncio.wait({action}, timeout=self._finish_within)
            action.cancel()
            await asyncio.gather(action, return_exceptions=True)
            raise
