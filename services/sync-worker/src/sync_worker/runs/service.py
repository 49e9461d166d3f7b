"""One sync-worker at a time: live polls and whole runs, under the sync lock."""

import structlog

from polaris_common.charging.sessions import Applied
from polaris_common.charging.sync_runs import SyncRunRepository
from polaris_common.db import AdvisoryLock, Database, LockName
from polaris_common.observability.health import Component, report
from polaris_common.steve import SteveClient, SteveProtocolError, SteveRefused, SteveUnavailable
from sync_worker.chargers.service import refresh_chargers
from sync_worker.tags.service import mirror_tags
from sync_worker.transactions.service import TransactionSync

log = structlog.get_logger(__name__)

STEVE_ERRORS = (SteveUnavailable, SteveProtocolError, SteveRefused)


class SyncRuns:
    """What the worker does when it is told to look, or when it is time."""

    def __init__(
        self, database: Database, steve: SteveClient, transactions: TransactionSync, *, interval_seconds: float
    ) -> None:
        self._database, self._steve, self._transactions = database, steve, transactions
        self._interval = interval_seconds

    async def live_poll(self) -> None:
        """Look at SteVe's open and new transactions, unless another worker is at it."""
        async with AdvisoryLock(self._database, LockName.SYNC) as lock:
            if not lock.held:
                return
            try:
                applied = await self._transactions.poll()
            except STEVE_ERRORS as error:
                await self._report_steve(error)
                return
            await self._report_steve(None)
            if applied.new or applied.changed:
                log.info("live_poll", new=applied.new, changed=applied.changed)

    async def run_if_due(self) -> None:
        """Execute the run that was requested, or the one that is due by time."""
        async with self._database.unit_of_work() as uow:
            runs = SyncRunRepository(uow)
            age = await runs.seconds_since_success()
            if age is None or age >= self._interval:
                await runs.request("schedule")
        await self.run_requested()

    async def request_run(self, trigger: str) -> int:
        """Ask for a run; its id."""
        async with self._database.unit_of_work() as uow:
            return await SyncRunRepository(uow).request(trigger)

    async def run_requested(self) -> None:
        """Execute the requested run, if there is one and no other worker is at it."""
        async with AdvisoryLock(self._database, LockName.SYNC) as lock:
            if not lock.held:
                return
            async with self._database.unit_of_work() as uow:
                run = await SyncRunRepository(uow).start()
            if run is not None:
                await self._execute(run.id)

    async def _execute(self, run_id: int) -> None:
        seen, applied, error = 0, Applied(), None
        try:
            await mirror_tags(self._database, self._steve)
            seen, applied = await self._transactions.full_pass()
            await self._transactions.attach_owners()
            await refresh_chargers(self._database, self._steve)
        except STEVE_ERRORS as problem:
            error = _code(problem)
            log.warning("sync_run_failed", run=run_id, error=error, reason=str(problem))
            await self._report_steve(problem)
        async with self._database.unit_of_work() as uow:
            await SyncRunRepository(uow).finish(
                run_id, seen=seen, new=applied.new, changed=applied.changed, error=error
            )
            await report(uow, Component.SYNC, error=None if error is None else "last_run_failed")
        log.info("sync_run", run=run_id, seen=seen, new=applied.new, changed=applied.changed, error=error)

    async def _report_steve(self, problem: Exception | None) -> None:
        async with self._database.unit_of_work() as uow:
            await report(uow, Component.STEVE, error=None if problem is None else _code(problem))


def _code(problem: Exception) -> str:
    match problem:
        case SteveUnavailable():
            return "unreachable"
        case SteveRefused(status=401 | 403):
            return "credentials_refused"
        case _:
            return "unexpected_answer"
