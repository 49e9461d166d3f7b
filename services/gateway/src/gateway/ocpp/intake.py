"""The group commit of meter values: whatever waits becomes one transaction, and nobody is told "stored" before it is.

One task writes. While it waits for PostgreSQL the next requests arrive and wait together, so the dearer a commit is,
the more samples share it.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from gateway.ocpp.announcer import Announcer
from gateway.ocpp.background import BackgroundTask
from polaris_common.charging.live import telemetry_of
from polaris_common.charging.meters import MeterRepository, MovedMeter
from polaris_common.charging.samples import MeterValues
from polaris_common.db import Database
from polaris_common.db.outages import is_outage
from polaris_common.http.errors import ServiceUnavailable

CAPACITY = 10_000
BATCH = 500
STORE_TIMEOUT_SECONDS = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Arrival:
    values: MeterValues
    stored: "asyncio.Future[None]"

    def done(self) -> None:
        if not self.stored.done():
            self.stored.set_result(None)

    def fail(self) -> None:
        if not self.stored.done():
            self.stored.set_exception(ServiceUnavailable())


class MeterIntake:
    """Takes meter values and returns when they are durable."""

    def __init__(
        self, database: Database, announcer: Announcer, *, capacity: int = CAPACITY, batch: int = BATCH
    ) -> None:
        self._database, self._announcer = database, announcer
        self._capacity, self._batch = capacity, batch
        self._waiting: deque[_Arrival] = deque()
        self._wake = asyncio.Event()
        self._open = False
        self._background = BackgroundTask(self._run)

    def start(self) -> None:
        """Begin to store."""
        self._open = True
        self._background.start()

    async def stop(self) -> None:
        """Store what waits, take nothing more, and end."""
        self._open = False
        self._wake.set()
        await self._background.over()

    async def add(self, values: MeterValues) -> None:
        """Store ``values``; returns once they are durable.

        Raises:
            ServiceUnavailable: too much waits already, or the database did not take them.
        """
        if not self._open or len(self._waiting) >= self._capacity:
            raise ServiceUnavailable
        arrival = _Arrival(values, asyncio.get_running_loop().create_future())
        self._waiting.append(arrival)
        self._wake.set()
        await arrival.stored

    async def _run(self) -> None:
        taken: list[_Arrival] = []
        try:
            while self._open or self._waiting:
                await self._wake.wait()
                taken = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
                if self._open and not self._waiting:
                    self._wake.clear()
                await self._store_or_fail(taken)
        finally:
            self._open = False
            for arrival in (*taken, *self._waiting):
                arrival.fail()
            self._waiting.clear()

    async def _store_or_fail(self, taken: Sequence[_Arrival]) -> None:
        """As ``_store``, but nothing that goes wrong, not even a log that cannot be written, ends the intake."""
        try:
            await self._store(taken)
        except Exception:
            for arrival in taken:
                arrival.fail()
            with suppress(Exception):
                log.exception("intake_stumbled")

    async def _store(self, arrivals: Sequence[_Arrival]) -> None:
        """Store all of ``arrivals`` together; where one of them is refused, every other one all the same."""
        if not arrivals:
            return
        # One order everywhere: two gateways that get the same samples then wait for each other instead of deadlocking.
        ordered = sorted((a.values for a in arrivals), key=lambda values: (values.transaction_id, values.sampled_at))
        try:
            moved = await self._commit(ordered)
        except Exception as error:
            if len(arrivals) > 1 and not is_outage(error):
                middle = len(arrivals) // 2
                await self._store(arrivals[:middle])
                await self._store(arrivals[middle:])
                return
            for arrival in arrivals:
                arrival.fail()
            log.error("samples_not_stored", count=len(arrivals), error=type(error).__name__)
            return
        for arrival in arrivals:
            arrival.done()
        self._announce(ordered, moved)

    async def _commit(self, arrived: Sequence[MeterValues]) -> dict[int, MovedMeter]:
        async with asyncio.timeout(STORE_TIMEOUT_SECONDS), self._database.glance() as uow:
            return await MeterRepository(uow).store(arrived)

    def _announce(self, ordered: Sequence[MeterValues], moved: Mapping[int, MovedMeter]) -> None:
        """What has moved; screens are shown nothing that is older than what they have."""
        if not moved:
            return
        latest = {values.transaction_id: values for values in ordered if values.transaction_id in moved}
        self._announcer.stored(
            [
                telemetry_of(values, moved[number].session)
                for number, values in latest.items()
                if values.sampled_at >= moved[number].newest_at
            ],
            unknown_transaction=any(each.session is None for each in moved.values()),
            ending=any(values.is_last for values in ordered if values.transaction_id in moved),
        )
