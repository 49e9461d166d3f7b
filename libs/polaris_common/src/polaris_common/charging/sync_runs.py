"""Sync runs: requested by anyone, executed by one sync-worker at a time, recorded while they happen."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Update, case, exists, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import SQLAlchemyError

from polaris_common.charging.schedule import ScheduleRepository
from polaris_common.db import Database, LockName, Repository, UnitOfWork
from polaris_common.events.live import SyncCompleted, SyncProgress, SyncStarted
from polaris_common.http.errors import ApiError, NotFound
from polaris_common.interruption import Interrupted, stop_if_asked
from polaris_common.models import SegmentStatus, SyncRun, SyncRunLog, SyncRunSegment, SyncRunStatus


class Trigger(StrEnum):
    """Who wanted a run."""

    SCHEDULE = "schedule"
    OPERATOR = "operator"
    STARTUP = "startup"
    BACKLOG = "backlog"
    """A live poll found more than it can read."""


RETENTION_DAYS = 90
DELETED_AT_ONCE = 1_000
SAVE_SECONDS = 1.0
"""How often work in many small steps shows how far it is."""

# What the next run's time is counted from stays, however old it is.
_DELETE_OLD = text("""
DELETE FROM sync_runs WHERE id IN (
    SELECT id FROM sync_runs
    WHERE status IN ('completed', 'failed', 'cancelled') AND completed_at < now() - make_interval(days => :days)
      AND id < (SELECT max(id) FROM sync_runs WHERE status = 'completed')
    ORDER BY id LIMIT :limit)
""")


class RunLost(Exception):
    """Another worker has declared the run dead; whoever still works on it must stop."""


class SyncRunNotFound(NotFound):
    """There is no such run."""

    code, message = "sync_run_not_found", "There is no such sync run."


class SyncRunOver(ApiError):
    """What has ended cannot be cancelled."""

    status, code, message = 409, "sync_run_over", "This sync run has ended already."


@dataclass
class Counts:
    """What a segment has done so far."""

    seen: int = 0
    new: int = 0
    changed: int = 0
    held: int = 0
    """Waits for a person, or for something to appear."""
    failed: int = 0
    """Could not be read or written."""


@dataclass(frozen=True)
class RunHistory:
    """What the next run's time depends on."""

    waiting: bool
    running: bool
    last_success_at: datetime | None
    failures: int
    last_failure_at: datetime | None
    last_cancelled_at: datetime | None
    """When an operator ended a run that had begun, if none has completed since."""


async def delete_old_runs(uow: UnitOfWork) -> int:
    """Forget runs older than the retention with their segments and logs, some at a time; how many."""
    return await uow.write(_DELETE_OLD, {"days": RETENTION_DAYS, "limit": DELETED_AT_ONCE})


async def trigger_run(uow: UnitOfWork) -> int:
    """An operator wants a run now: the fleet is active at once; the id of the run that will answer.

    Triggers that wait together are one run. Enqueue ``Jobs.sync_run`` after the commit.
    """
    await ScheduleRepository(uow).promote_all()
    return await SyncRunRepository(uow).request(Trigger.OPERATOR)


class SyncRunRepository(Repository[SyncRun]):
    """Every query on sync runs, their segments and their logs."""

    model = SyncRun

    async def request(self, trigger: str) -> int:
        """Ask for a run; requests that wait together are one run. The run's id."""
        await self.uow.execute(
            upsert(SyncRun)
            .values(trigger=trigger)
            # A literal: with a parameter a reused plan would no longer know which index is meant.
            .on_conflict_do_nothing(index_elements=["status"], index_where=text("status = 'requested'"))
        )
        waiting = select(SyncRun.id).where(SyncRun.status == SyncRunStatus.REQUESTED)
        return (await self.uow.session.execute(waiting)).scalar_one()

    async def cancel(self, run_id: int) -> SyncRun:
        """An operator wants the run to end; as it is now. Safe to repeat.

        One that nobody has begun, or whose worker is dead, is cancelled at once. A worker that is at it sees the wish
        between its steps: the run is cancelled then, or completed if there was nothing left to do.

        Raises:
            SyncRunNotFound, SyncRunOver: nothing has changed.
        """
        run = await self.one_or_none(select(SyncRun).where(SyncRun.id == run_id).with_for_update())
        match run:
            case None:
                raise SyncRunNotFound
            case SyncRun(status=SyncRunStatus.COMPLETED | SyncRunStatus.FAILED):
                raise SyncRunOver
            case SyncRun(status=SyncRunStatus.CANCELLED):
                return run
        if run.cancel_requested_at is None:
            run.cancel_requested_at = func.now()
            await self.uow.session.flush()
        if run.status == SyncRunStatus.REQUESTED:
            await self._end(_ending(SyncRun.id == run_id))
        elif await self._nobody_works():
            await self.bury()
        await self.uow.session.refresh(run)
        return run

    async def cancel_is_wanted(self, run_id: int) -> bool:
        """Whether an operator wants the run to end."""
        query = select(SyncRun.cancel_requested_at).where(SyncRun.id == run_id)
        return await self.uow.session.scalar(query) is not None

    async def last_was_cancelled(self) -> bool:
        """Whether an operator has ended the latest run that had begun."""
        query = select(SyncRun.status).where(SyncRun.started_at.is_not(None), SyncRun.completed_at.is_not(None))
        latest = await self.uow.session.scalar(query.order_by(SyncRun.id.desc()).limit(1))
        return latest == SyncRunStatus.CANCELLED

    async def start(self) -> SyncRun | None:
        """Begin the run that waits, if one does. Runs that a dead worker left running are marked failed.

        Only for the holder of the sync lock.
        """
        await self.bury()
        run = await self.one_or_none(select(SyncRun).where(SyncRun.status == SyncRunStatus.REQUESTED).with_for_update())
        if run is not None:
            run.status, run.started_at = SyncRunStatus.RUNNING, func.now()
            self.uow.emit(SyncStarted(sync_run_id=run.id, trigger=run.trigger))
        return run

    async def bury(self) -> None:
        """End every run that a dead worker left running, with its open segments: failed, or cancelled as wanted."""
        await self._end(_ending(SyncRun.status == SyncRunStatus.RUNNING, error="worker_died"))

    async def finish(
        self, run_id: int, counts: Counts, *, error: str | None = None, interrupted: bool = False
    ) -> SyncRunStatus | None:
        """Close a run with its transactions' counts; how it ended, or None for one that was declared dead, which stays.

        ``error`` is a code. A run that was wanted to end, and has not done all of its work, is cancelled.
        """
        return await self._end(
            _ending(
                (SyncRun.id == run_id) & (SyncRun.status == SyncRunStatus.RUNNING),
                error=error,
                completed=error is None and not interrupted,
            ).values(transactions_seen=counts.seen, transactions_new=counts.new, transactions_changed=counts.changed)
        )

    async def history(self) -> RunHistory:
        """Whether one waits or runs, and how the last ones ended."""
        row = (await self.uow.execute(_HISTORY)).one()
        return RunHistory(**row._mapping)

    async def save_segment(
        self, run_id: int, segment: str, counts: Counts, status: SegmentStatus = SegmentStatus.RUNNING
    ) -> bool:
        """Write how a segment stands; False when its run is neither running nor closed by its own worker."""
        alive = exists().where(SyncRun.id == run_id, func.coalesce(SyncRun.error, "") != "worker_died")
        if not await self.uow.session.scalar(select(alive)):
            return False
        values: dict[str, Any] = {**asdict(counts), "status": status.value}
        if status is not SegmentStatus.RUNNING:
            values["completed_at"] = func.clock_timestamp()
        statement = upsert(SyncRunSegment).values(sync_run_id=run_id, segment=segment, **values)
        await self.uow.execute(statement.on_conflict_do_update(index_elements=["sync_run_id", "segment"], set_=values))
        self.uow.emit(SyncProgress(sync_run_id=run_id, segment=segment, status=status.value, **asdict(counts)))
        return True

    async def log(self, run_id: int, segment: str, level: str, message: str, context: dict[str, Any] | None) -> None:
        """Write one line; ``level`` is ``debug``, ``info``, ``warn`` or ``error``."""
        await self.uow.execute(
            insert(SyncRunLog).values(
                sync_run_id=run_id, segment=segment, level=level, message=message, context=context or None
            )
        )

    async def _nobody_works(self) -> bool:
        """Whether no worker is alive that executes runs; until this transaction ends none can begin."""
        return bool(await self.uow.session.scalar(select(func.pg_try_advisory_xact_lock(int(LockName.SYNC)))))

    async def _end(self, closing: Update) -> SyncRunStatus | None:
        """Close runs and tell how they went; the status of the last, if there was one.

        What is still open of a run that has completed is another service's segment, which that service closes.
        """
        closed = closing.returning(SyncRun.id, SyncRun.status).execution_options(synchronize_session=False)
        status: SyncRunStatus | None = None
        for run in (await self.uow.execute(closed)).all():
            status = SyncRunStatus(run.status)
            if status is not SyncRunStatus.COMPLETED:
                left = SegmentStatus.CANCELLED if status is SyncRunStatus.CANCELLED else SegmentStatus.ERROR
                await self._close_segments(run.id, left)
            row = (await self.uow.execute(_ENDED, {"id": run.id})).mappings().one()
            self.uow.emit(SyncCompleted(**row))
        return status

    async def _close_segments(self, run_id: int, status: SegmentStatus) -> None:
        await self.uow.execute(
            update(SyncRunSegment)
            .where(SyncRunSegment.sync_run_id == run_id, SyncRunSegment.status == SegmentStatus.RUNNING)
            .values(status=status, completed_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )


class SegmentRecord:
    """One segment of a run while it works. Every line and every count is stored when it is known."""

    def __init__(self, database: Database, run_id: int, segment: str) -> None:
        self._database, self._warned, self._saved_at = database, False, time.monotonic()
        self.run_id, self.segment, self.counts = run_id, segment, Counts()

    async def save(self, status: SegmentStatus = SegmentStatus.RUNNING) -> None:
        """Make the counts visible.

        Raises:
            RunLost: the run is no longer ours.
            Interrupted: the work is asked to stop; not when ``status`` says that it has ended.
        """
        if status is SegmentStatus.RUNNING:
            stop_if_asked()
        async with self._database.unit_of_work() as uow:
            saved = await SyncRunRepository(uow).save_segment(self.run_id, self.segment, replace(self.counts), status)
        if not saved:
            raise RunLost(f"run {self.run_id} was declared dead")
        self._saved_at = time.monotonic()

    async def save_now_and_then(self) -> None:
        """Make the counts visible if they have not been for a second; see ``save``."""
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            await self.save()

    async def log(self, level: str, message: str, **context: Any) -> None:
        """Write one line of the run's log; a ``warn`` or ``error`` line makes the segment end with a warning."""
        self._warned = self._warned or level in ("warn", "error")
        async with self._database.unit_of_work() as uow:
            await SyncRunRepository(uow).log(self.run_id, self.segment, level, message, context)

    @property
    def outcome(self) -> SegmentStatus:
        """How it ended if it ends now."""
        return SegmentStatus.WARNING if self._warned or self.counts.failed else SegmentStatus.SUCCESS


@asynccontextmanager
async def recorded_segment(database: Database, run_id: int, segment: str) -> AsyncIterator[SegmentRecord]:
    """Record a segment of a run: running while the block works, then success, warning, error or cancelled.

    Any service may add segments to a run, also after the run has ended. What the block raises is raised again.
    """
    record = SegmentRecord(database, run_id, segment)
    await record.save()
    try:
        yield record
    except RunLost:
        raise
    except Interrupted:
        await record.log("info", "Cancelled by an operator")
        await record.save(SegmentStatus.CANCELLED)
        raise
    except Exception as error:
        # What the database says may quote what was written.
        said = "" if isinstance(error, SQLAlchemyError) else f": {error}"
        await record.log("error", type(error).__name__ + said)
        await record.save(SegmentStatus.ERROR)
        raise
    await record.save(record.outcome)


_ENDED = text("""
SELECT r.id AS sync_run_id, r.status, r.error, r.transactions_seen AS transactions_processed,
    (SELECT count(*) FROM lago_events WHERE r.started_at IS NOT NULL AND id > coalesce(
        (SELECT id FROM lago_events WHERE created_at < r.started_at ORDER BY id DESC LIMIT 1), 0)) AS events_created,
    greatest(
        (SELECT count(*) FROM sync_run_segments g WHERE g.sync_run_id = r.id AND g.status = 'error'),
        (r.status = 'failed')::int
    ) AS error_count
FROM sync_runs r WHERE r.id = :id
""")

_HISTORY = text("""
WITH success AS (
    SELECT completed_at, id FROM sync_runs WHERE status = 'completed' ORDER BY id DESC LIMIT 1
)
SELECT
    EXISTS (SELECT FROM sync_runs WHERE status = 'requested') AS waiting,
    EXISTS (
        SELECT FROM sync_runs WHERE status = 'running' AND id > coalesce((SELECT id FROM success), 0)
    ) AS running,
    (SELECT completed_at FROM success) AS last_success_at,
    count(*) AS failures,
    max(completed_at) AS last_failure_at,
    (
        SELECT max(completed_at) FROM sync_runs
        WHERE status = 'cancelled' AND started_at IS NOT NULL AND id > coalesce((SELECT id FROM success), 0)
    ) AS last_cancelled_at
FROM sync_runs WHERE status = 'failed' AND id > coalesce((SELECT id FROM success), 0)
""")


def _ending(which: ColumnElement[bool], *, error: str | None = None, completed: bool = False) -> Update:
    """End the runs: what is not ``completed`` is cancelled where an operator wanted that, and failed otherwise."""
    short = case(
        (SyncRun.cancel_requested_at.is_not(None), SyncRunStatus.CANCELLED.value), else_=SyncRunStatus.FAILED.value
    )
    return (
        update(SyncRun)
        .where(which)
        .values(status=SyncRunStatus.COMPLETED if completed else short, completed_at=func.now(), error=error)
    )
