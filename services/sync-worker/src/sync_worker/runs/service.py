"""One sync-worker at a time: whole runs under the sync lock, looks at SteVe's transactions under a lock of their own.

The locks are separate so that a long tag segment delays neither live polls nor what billing waits for.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import structlog

from polaris_common.charging.schedule import Schedule, ScheduleRepository
from polaris_common.charging.sync_runs import RunHistory, RunLost, SyncRunRepository, Trigger
from polaris_common.db import AdvisoryLock, Database, LockName, UnitOfWork
from polaris_common.domain.cadence import CadencePolicy, Standing, next_run
from polaris_common.interruption import Interrupted, Interruption, interruptible_by, stop_if_asked
from polaris_common.models import SyncRunStatus
from polaris_common.observability.health import Component, report
from polaris_common.steve import SteveClient
from sync_worker.cadence.service import Cadence
from sync_worker.metrics import LIVE_POLL_SECONDS, RUN_SECONDS, TRANSACTIONS
from sync_worker.runs.problems import STEVE_ERRORS, code_of
from sync_worker.runs.pulse import Pulse
from sync_worker.runs.segments import RunSegments
from sync_worker.tags.service import TagPolicy, TagSync
from sync_worker.transactions.service import TransactionSync

log = structlog.get_logger(__name__)

LOCK_RETRY_SECONDS = 0.1
CANCEL_LOOK_SECONDS = 0.5
"""How often a run looks whether it is wanted to end."""
NIGHTLY_HOUR = 2
"""From this hour (UTC) the day's first run reads SteVe's whole table."""


class SyncRuns:
    """What the worker does when it is told to look, or when it is time."""

    def __init__(
        self,
        database: Database,
        steve: SteveClient,
        transactions: TransactionSync,
        *,
        tags: TagSync | None = None,
        policy: CadencePolicy | None = None,
        nightly_hour: int = NIGHTLY_HOUR,
    ) -> None:
        self._database, self._transactions = database, transactions
        self._policy, self._nightly_hour = policy or CadencePolicy(), nightly_hour
        self._cadence = Cadence(database, self._policy)
        tag_sync = tags or TagSync(database, steve, TagPolicy(enabled=False))
        self._segments = RunSegments(database, steve, transactions, tag_sync, self._cadence)

    async def live_poll(self) -> bool:
        """Look at SteVe's open and new transactions; False when another look is going on, so this must come later."""
        async with AdvisoryLock(self._database, LockName.TRANSACTIONS) as lock:
            if not lock.held:
                return False
            try:
                with LIVE_POLL_SECONDS.time():
                    looked = await self._transactions.poll()
            except STEVE_ERRORS as error:
                await self._report_steve(error)
                return True
            await self._report_steve(None)
        applied = looked.applied
        if applied.new or applied.changed or looked.vanished or looked.unreadable:
            log.info(
                "live_poll",
                new=applied.new,
                changed=applied.changed,
                vanished=looked.vanished,
                unreadable=looked.unreadable,
            )
        return True

    async def request_run(self, trigger: str) -> int:
        """Ask for a run; its id."""
        async with self._database.unit_of_work() as uow:
            return await SyncRunRepository(uow).request(trigger)

    async def run_if_due(self) -> None:
        """Execute the run that was requested, or the one that is due by time.

        Also where a pin takes effect: the schedule is read afresh every time.
        """
        if await self._something_to_do():
            await self._run_under_lock(by_time=True)

    async def run_requested(self) -> None:
        """Execute the requested run, if there is one and no other worker is at it."""
        await self._run_under_lock(by_time=False)

    async def run(self, run_id: int) -> None:
        """Execute a run that has been started. Only for the holder of the sync lock."""
        async with self._database.unit_of_work() as uow:
            schedule, history = await _look(uow)
        self._segments.begin()
        error: str | None = "internal"
        interrupted, began = False, time.monotonic()
        try:
            async with self._ends_when_cancelled(run_id):
                await self._work(run_id, schedule, history)
            error = self._segments.error
        except RunLost as lost:
            log.error("sync_run_lost", run=run_id, reason=str(lost))
        except Interrupted:
            error, interrupted = self._segments.error, True
        except asyncio.CancelledError:
            error = "worker_stopped"
            raise
        finally:
            ended = await self._finish(run_id, error, interrupted=interrupted)
            RUN_SECONDS.labels(ended or SyncRunStatus.FAILED).observe(time.monotonic() - began)

    async def _work(self, run_id: int, schedule: Schedule, history: RunHistory) -> None:
        async with self._transactions_lock():
            problem = await self._segments.probe(run_id)
            await self._report_steve(problem)
            if problem is None:
                await self._segments.transactions(
                    run_id,
                    whole=self._whole_pass_due(schedule),
                    history=history.last_success_at is None,
                    today=schedule.now.date(),
                )
        if problem is None:
            await self._segments.others(run_id)
        await self._segments.scheduling(run_id)

    @asynccontextmanager
    async def _ends_when_cancelled(self, run_id: int) -> AsyncIterator[None]:
        """Interrupt the block soon after an operator has cancelled the run."""
        signal = Interruption()

        async def look() -> None:
            async with self._database.glance() as uow:
                if await SyncRunRepository(uow).cancel_is_wanted(run_id):
                    signal.give()

        watch = asyncio.create_task(Pulse("cancelled_run", look, seconds=CANCEL_LOOK_SECONDS).run())
        try:
            with interruptible_by(signal):
                yield
        finally:
            watch.cancel()
            (problem,) = await asyncio.gather(watch, return_exceptions=True)
            if isinstance(problem, Exception):
                raise problem

    async def _something_to_do(self) -> bool:
        async with self._database.unit_of_work() as uow:
            schedule, history = await _look(uow)
            due = self._due(schedule, history)
            if schedule.evaluated_at is None:
                await ScheduleRepository(uow).begin_watch()
            if due != schedule.next_run_at:
                await ScheduleRepository(uow).set_next_run(due)
        return history.waiting or history.running or due <= schedule.now

    async def _run_under_lock(self, *, by_time: bool) -> None:
        async with AdvisoryLock(self._database, LockName.SYNC) as lock:
            if not lock.held:
                return
            async with self._database.unit_of_work() as uow:
                runs = SyncRunRepository(uow)
                schedule, history = await _look(uow)
                if by_time and self._due(schedule, history) <= schedule.now:
                    await runs.request(Trigger.SCHEDULE)
                run = await runs.start()
            if run is not None:
                await self.run(run.id)

    def _due(self, schedule: Schedule, history: RunHistory) -> datetime:
        standing = Standing(
            tier=schedule.tier,
            last_success_at=history.last_success_at,
            failures=history.failures,
            last_failure_at=history.last_failure_at,
            last_cancelled_at=history.last_cancelled_at,
            watched_since=schedule.evaluated_at,
        )
        return next_run(standing, self._policy, now=schedule.now)

    def _whole_pass_due(self, schedule: Schedule) -> bool:
        last, now = schedule.nightly_pass_on, schedule.now
        if last is None or now.date() - last > timedelta(days=1):
            return True
        return last < now.date() and now.hour >= self._nightly_hour

    async def _finish(self, run_id: int, error: str | None, *, interrupted: bool) -> SyncRunStatus | None:
        counts = self._segments.transaction_counts
        async with self._database.unit_of_work() as uow:
            ended = await SyncRunRepository(uow).finish(run_id, counts, error=error, interrupted=interrupted)
            if ended is not SyncRunStatus.CANCELLED:  # which says nothing about how syncing goes
                await report(uow, Component.SYNC, error=None if error is None else "last_run_failed")
        TRANSACTIONS.labels("new").inc(counts.new)
        TRANSACTIONS.labels("changed").inc(counts.changed)
        TRANSACTIONS.labels("failed").inc(counts.failed)
        log.info(
            "sync_run",
            run=run_id,
            ended=ended or "lost",
            seen=counts.seen,
            new=counts.new,
            changed=counts.changed,
            error=error,
        )
        return ended

    @asynccontextmanager
    async def _transactions_lock(self) -> AsyncIterator[None]:
        """Wait until no live poll is at work."""
        while True:
            async with AdvisoryLock(self._database, LockName.TRANSACTIONS) as lock:
                if lock.held:
                    yield
                    return
            stop_if_asked()
            await asyncio.sleep(LOCK_RETRY_SECONDS)

    async def _report_steve(self, problem: Exception | None) -> None:
        async with self._database.unit_of_work() as uow:
            await report(uow, Component.STEVE, error=None if problem is None else code_of(problem))


async def _look(uow: UnitOfWork) -> tuple[Schedule, RunHistory]:
    return await ScheduleRepository(uow).read(), await SyncRunRepository(uow).history()
