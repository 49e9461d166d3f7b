"""Work that goes on beside the requests."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class BackgroundTask:
    """One task of the running gateway."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._work())

    async def cancel(self) -> None:
        """Break the work off and wait until it is over."""
        if self._task is not None:
            self._task.cancel()
        await self.over()

    async def over(self) -> None:
        """Wait until the work is over, however it ended."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
