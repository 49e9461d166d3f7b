"""Telling the others what has arrived: live telemetry, hints to the workers, and which charge boxes are alive.

Nothing here may delay a hook's answer or be relied upon, so it is gathered, replaced by what is newer, and sent by one
task at most ten times a second.
"""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from gateway.ocpp.background import BackgroundTask
from polaris_common.charging.schedule import ScheduleRepository
from polaris_common.db import Database
from polaris_common.jobs import Jobs
from polaris_common.telemetry import MeterTelemetry, publish

PAUSE_SECONDS = 0.1
PROMOTE_AGAIN_SECONDS = 60.0
"""A charge box that was made active is not made active again for so long."""

SEND_TIMEOUT_SECONDS = 3.0

log = structlog.get_logger(__name__)


class Announcer:
    """Sends the latest telemetry of each transaction and signals the workers, in the background."""

    def __init__(self, jobs: Jobs, database: Database) -> None:
        self._jobs, self._database = jobs, database
        self._alive: set[str] = set()
        self._promoted: dict[str, float] = {}
        self._telemetry: dict[int, MeterTelemetry] = {}
        self._live_poll = self._bill_due = self._stops = False
        self._wake = asyncio.Event()
        self._background = BackgroundTask(self._run)

    def start(self) -> None:
        """Begin to send."""
        self._background.start()

    async def stop(self) -> None:
        """Send what waits and end."""
        await self._background.cancel()
        with suppress(Exception):
            await self._send()

    def transactions_changed(self) -> None:
        """SteVe has a transaction that we may not know."""
        self._live_poll = True
        self._wake.set()

    def heard_from(self, charge_box_id: str) -> None:
        """A charge box is alive: the sync-worker looks at it more often."""
        last = self._promoted.get(charge_box_id)
        if last is None or time.monotonic() - last > PROMOTE_AGAIN_SECONDS:
            self._alive.add(charge_box_id)
            self._wake.set()

    def stored(self, telemetry: Iterable[MeterTelemetry], *, unknown_transaction: bool, ending: bool = False) -> None:
        """Samples are durable: show them, and let billing look; ``ending``: some are a transaction's last."""
        for item in telemetry:
            waiting = self._telemetry.get(item.transaction_id)
            if waiting is None or waiting.meter_timestamp <= item.meter_timestamp:
                self._telemetry[item.transaction_id] = item
            self.heard_from(item.charge_box_id)
        self._bill_due = True
        self._live_poll = self._live_poll or unknown_transaction
        self._stops = self._stops or ending
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            # What is announced is a hint; not even a log that cannot be written may end the announcing.
            with suppress(Exception):
                await self._send()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _promote(self) -> None:
        alive, self._alive = self._alive, set()
        if not alive:
            return
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS), self._database.unit_of_work() as uow:
                await ScheduleRepository(uow).promote(alive)
        except (OSError, SQLAlchemyError) as error:
            log.warning("promotion_lost", error=type(error).__name__)
        else:
            self._promoted |= dict.fromkeys(alive, time.monotonic())

    async def _send(self) -> None:
        await self._promote()
        telemetry, self._telemetry = list(self._telemetry.values()), {}
        live_poll, self._live_poll = self._live_poll, False
        bill_due, self._bill_due = self._bill_due, False
        stops, self._stops = self._stops, False
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                if live_poll:
                    await self._jobs.live_poll()
                if stops:
                    await self._jobs.expected_stops()
                if bill_due:
                    await self._jobs.bill_due()
                await publish(self._jobs.redis, telemetry)
        except (OSError, RedisError) as error:
            log.warning("announcement_lost", error=type(error).__name__)
