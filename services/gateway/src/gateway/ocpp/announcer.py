"""Telling the others what has arrived: live telemetry, and hints to the workers.

Nothing here may delay a hook's answer or be relied upon, so it is gathered, replaced by what is newer, and sent by one
task at most ten times a second.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import structlog
from redis.exceptions import RedisError

from polaris_common.jobs import Jobs
from polaris_common.telemetry import MeterTelemetry, publish

PAUSE_SECONDS = 0.1
SEND_TIMEOUT_SECONDS = 3.0

log = structlog.get_logger(__name__)


class Announcer:
    """Sends the latest telemetry of each transaction and signals the workers, in the background."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._telemetry: dict[int, MeterTelemetry] = {}
        self._live_poll = self._bill_due = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Send what waits and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with suppress(Exception):
            await self._send()

    def transactions_changed(self) -> None:
        """SteVe has a transaction that we may not know."""
        self._live_poll = True
        self._wake.set()

    def stored(self, telemetry: Iterable[MeterTelemetry], *, unknown_transaction: bool) -> None:
        """Samples are durable: show them, and let billing look."""
        for item in telemetry:
            waiting = self._telemetry.get(item.transaction_id)
            if waiting is None or waiting.meter_timestamp <= item.meter_timestamp:
                self._telemetry[item.transaction_id] = item
        self._bill_due = True
        self._live_poll = self._live_poll or unknown_transaction
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            # What is announced is a hint; not even a log that cannot be written may end the announcing.
            with suppress(Exception):
                await self._send()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _send(self) -> None:
        telemetry, self._telemetry = list(self._telemetry.values()), {}
        live_poll, self._live_poll = self._live_poll, False
        bill_due, self._bill_due = self._bill_due, False
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                if live_poll:
                    await self._jobs.live_poll()
                if bill_due:
                    await self._jobs.bill_due()
                await publish(self._jobs.redis, telemetry)
        except (OSError, RedisError) as error:
            log.warning("announcement_lost", error=type(error).__name__)
