"""Ctrl-C, SIGTERM and a closed terminal end the run the orderly way, however often they come."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """Somebody asked the command to stop."""


def run_interruptibly(main: Coroutine[Any, Any, int]) -> int:
    """Run ``main``; the first signal cancels it and its clean-up is left in peace.

    Raises:
        Interrupted: a signal came.
    """
    return asyncio.run(_until_signal(main))


async def _until_signal(main: Coroutine[Any, Any, int]) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(main)
    interrupted = False

    def stop() -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except BaseException:
        if interrupted:
            raise Interrupted from None
        raise
