"""The skeleton of a worker process: tasks that run until the process is told to stop."""

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog
import uvloop
from sqlalchemy.exc import SQLAlchemyError

from polaris_common.alive import keep_alive_file
from polaris_common.db import Database
from polaris_common.db.outages import DATABASE_TROUBLE

log = structlog.get_logger(__name__)

OBJECTS_BETWEEN_COLLECTIONS = 10_000
"""Python's 700 let the collector take 40 % of a run that reads thousands of rows and makes no circles."""


class StartupError(Exception):
    """The process cannot start; the text is one sentence for the person who started it."""


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``main`` on uvloop; a ``StartupError`` is said on stderr and leaves with status 1."""
    collect_garbage_less()
    try:
        uvloop.run(main())
    except StartupError as problem:
        sys.stderr.write(f"{problem}\n")
        raise SystemExit(1) from None


def collect_garbage_less() -> None:
    """Look for circles of objects less often, and never in what is there by now: the modules."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 20, 20)


async def require_database(database: Database) -> None:
    """One round trip at start.

    Raises:
        StartupError: the database cannot be reached or has no schema yet.
    """
    try:
        await database.ping()
    except (OSError, TimeoutError, SQLAlchemyError) as error:
        cause = getattr(error, "orig", None) or error
        raise StartupError(f"The database of DATABASE_URL cannot be reached ({type(cause).__name__}).") from error


async def run_until_stopped(*tasks: Coroutine[Any, Any, None], alive_file: Path | None) -> None:
    """Run the tasks side by side until SIGTERM or SIGINT; a task that fails stops the process.

    ``alive_file`` shows meanwhile that the event loop turns (``ALIVE_FILE``); None: nobody wants to know.

    Raises:
        ExceptionGroup: what a task failed with.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(task) for task in tasks]
        if alive_file is not None:
            running.append(group.create_task(keep_alive_file(alive_file)))
        await stopped.wait()
        for task in running:
            task.cancel()


async def every(seconds: float, action: Callable[[], Awaitable[object]], *, name: str) -> None:
    """Run ``action`` now and then every ``seconds``, until cancelled; an outage is logged and survived."""
    while True:
        try:
            await action()
        except DATABASE_TROUBLE as error:
            log.warning("sweep_failed", sweep=name, error=type(error).__name__)
        await asyncio.sleep(seconds)
