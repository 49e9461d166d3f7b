"""Live readings without hooks: what SteVe has stored of open sessions is read at a low rate (3.12 and newer).

It takes the same way as a hook's samples, so a session that is polled is billed and shown while it charges, only later.
"""

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from itertools import groupby

import structlog
from sqlalchemy.exc import DBAPIError

from polaris_common.charging.live import telemetry_of
from polaris_common.charging.meters import MeterRepository
from polaris_common.charging.samples import MeterValues, Sample
from polaris_common.db import AdvisoryLock, Database, LockName
from polaris_common.db.outages import is_outage
from polaris_common.jobs import Jobs
from polaris_common.steve import SteveClient, SteveProtocolError, SteveRefused
from polaris_common.steve.probe import Capabilities
from polaris_common.steve.transaction_calls import transaction_detail
from polaris_common.steve.wire import SteveReading
from polaris_common.telemetry import publish
from sync_worker.readings.repository import SilentSession, silent_sessions
from sync_worker.runs.problems import STEVE_ERRORS, code_of

log = structlog.get_logger(__name__)

SILENCE = timedelta(seconds=60)
AT_MOST = 20
"""Each call costs SteVe a password check of some 70 ms (steve.md §1.1)."""


class LiveReadings:
    """Reads what hooks did not bring."""

    def __init__(
        self,
        database: Database,
        steve: SteveClient,
        jobs: Jobs,
        capabilities: Callable[[], Awaitable[Capabilities]],
        *,
        silence: timedelta = SILENCE,
        at_most: int = AT_MOST,
    ) -> None:
        self._database, self._steve, self._jobs, self._capabilities = database, steve, jobs, capabilities
        self._silence, self._at_most = silence, at_most
        self._asked: dict[int, float] = {}
        """When this process last asked for a transaction."""

    async def fetch(self) -> bool:
        """Read some open sessions, those first that were not read for longest; False when another worker is at it."""
        due = await self._due()
        if not due:
            return True
        async with AdvisoryLock(self._database, LockName.READINGS) as lock:
            if not lock.held:
                return False
            try:
                if (await self._capabilities()).details:
                    await self._fetch(due)
            except STEVE_ERRORS as problem:
                log.warning("live_readings_failed", error=code_of(problem))
        return True

    async def _due(self) -> list[SilentSession]:
        async with self._database.unit_of_work() as uow:
            silent = await silent_sessions(uow, silence=self._silence)
        self._asked = {one.transaction_id: self._asked.get(one.transaction_id, -math.inf) for one in silent}
        latest = time.monotonic() - self._silence.total_seconds()
        due = [one for one in silent if self._asked[one.transaction_id] <= latest]
        return sorted(due, key=lambda one: self._asked[one.transaction_id])[: self._at_most]

    async def _fetch(self, due: Sequence[SilentSession]) -> None:
        for session in due:
            self._asked[session.transaction_id] = time.monotonic()
            try:
                await self._fetch_one(session)
            except (SteveRefused, SteveProtocolError, DBAPIError) as problem:
                if is_outage(problem):
                    raise
                # One transaction that nobody can read or keep hides no other.
                log.warning("readings_unusable", transaction=session.transaction_id, error=type(problem).__name__)

    async def _fetch_one(self, session: SilentSession) -> None:
        detail = await transaction_detail(self._steve, session.transaction_id)
        if detail is None:
            return
        async with self._database.unit_of_work() as uow:
            meters = MeterRepository(uow)
            new = await meters.unknown_of(_as_arrived(session, detail.readings))
            if not new:
                return
            moved = (await meters.store(new)).get(session.transaction_id)
            uow.after_commit(self._jobs.bill_due)
        if moved is not None and new[-1].sampled_at >= moved.newest_at:
            await publish(self._jobs.redis, [telemetry_of(new[-1], moved.session)])


def _as_arrived(session: SilentSession, readings: Iterable[SteveReading]) -> list[MeterValues]:
    """SteVe's rows as the MeterValue elements that they were."""
    ordered = sorted(readings, key=lambda reading: reading.sampled_at)
    return [
        MeterValues(session.transaction_id, session.charge_box_id, session.connector_id, at, tuple(map(_sample, group)))
        for at, group in groupby(ordered, key=lambda reading: reading.sampled_at)
    ]


def _sample(reading: SteveReading) -> Sample:
    return Sample(
        value=reading.value,
        measurand=reading.measurand or "",
        unit=reading.unit or "",
        context=reading.context or "",
        phase=reading.phase or "",
        location=reading.location or "",
    )
