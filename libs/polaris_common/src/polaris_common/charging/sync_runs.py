"""Sync runs: requested by anyone, executed by one sync-worker at a time, recorded while they happen."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Update, exists, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import SQLAlchemyError

from polaris_common.charging.schedule import ScheduleRepository
from polaris_common.db import Database, Repository, UnitOfWork
from polaris_common.events.live import SyncCompleted, SyncProgress, SyncStarted
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

# What the next run's time is counted from stays, however old it is.
_DELETE_OLD = text("""
DELETE FROM sync_runs WHERE id IN (
    SELECT id FROM sync_runs
    WHERE status IN ('completed', 'failed') AND completed_at < now() - make_interval(days => :days)
      AND id < (SELECT max(id) FROM sync_runs WHERE status = 'completed')
    ORDER BY id LIMIT :limit)
""")


class RunLost(Exception):
    """Another worker has declared the run dead; whoever still works on it must stop."""


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
        """Mark every run failed that a dead worker left running, with its open segments."""
        dead = select(SyncRun.id).where(SyncRun.status == SyncRunStatus.RUNNING)
        await self._close_segments(SyncRunSegment.sync_run_id.in_(dead), SegmentStatus.ERROR)
        await self._end(
            update(SyncRun)
            .where(SyncRun.status == SyncRunStatus.RUNNING)
            .values(status=SyncRunStatus.FAILED, completed_at=func.now(), error="worker_died")
        )

    async def finish(self, run_id: int, *, seen: int, new: int, changed: int, error: str | None = None) -> None:
        """Close a run with its counts; ``error`` is a code. A run that was declared dead stays dead."""
        await self._close_segments(SyncRunSegment.sync_run_id == run_id, SegmentStatus.ERROR)
        await self._end(
            update(SyncRun)
            .where(SyncRun.id == run_id, SyncRun.status == SyncRunStatus.RUNNING)
            .values(
                status=SyncRunStatus.COMPLETED if error is None else SyncRunStatus.FAILED,
                completed_at=func.now(),
                transactions_seen=seen,
                transactions_new=new,
                transactions_changed=changed,
                error=error,
            )
        )

    async def history(self) -> RunHistory:
        """Whether one waits or runs, and how the last ones ended."""
        row = (await self.uow.execute(_HISTORY)).one()
        return RunHistory(row.waiting, row.running, row.last_success_at, row.failures, row.last_failure_at)

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

    async def _end(self, closing: Update) -> None:
        """Close runs and tell how they went."""
        closed = closing.returning(SyncRun.id).execution_options(synchronize_session=False)
        ids = list((await self.uow.execute(closed)).scalars())
        for row in (await self.uow.execute(_ENDED, {"ids": ids})).mappings() if ids else ():
            self.uow.emit(SyncCompleted(**row))

    async def _close_segments(self, which: Any, status: SegmentStatus) -> None:
        await self.uow.execute(
            update(SyncRunSegment)
            .where(which, SyncRunSegment.status == SegmentStatus.RUNNING)
            .values(status=status.value, completed_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )


class SegmentRecord:
    """One segment of a run while it works. Every line and every count is stored when it is known."""

    def __init__(self, database: Database, run_id: int, segment: str) -> None:
        self._database, self._warned = database, False
        self.run_id, self.segment, self.counts = run_id, segment, Counts()

    async def save(self, status: SegmentStatus = SegmentStatus.RUNNING) -> None:
        """Make the counts visible.

        Raises:
            RunLost: the run is no longer ours.
        """
        async with self._database.unit_of_work() as uow:
            saved = await SyncRunRepository(uow).save_segment(self.run_id, self.segment, replace(self.counts), status)
        if not saved:
            raise RunLost(f"run {self.run_id} was declared dead")

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
    """Record a segment of a run: running while the block works, then success, warning or error.

    Any service may add segments to a run, also after the run has ended. What the block raises is raised again.
    """
    record = SegmentRecord(database, run_id, segment)
    await record.save()
    try:
        yield record
    except RunLost:
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
    (SELECT count(*) FROM lago_events WHERE id > coalesce(
        (SELECT id FROM lago_events WHERE created_at < r.started_at ORDER BY id DESC LIMIT 1), 0)) AS events_created,
    greatest(
        (SELECT count(*) FROM sync_run_segments g WHERE g.sync_run_id = r.id AND g.status = 'error'),
        (r.status = 'failed')::int
    ) AS error_count
FROM sync_runs r WHERE r.id = ANY(CAST(:ids AS bigint[])) ORDER BY r.id
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
    max(completed_at) AS last_failure_at
FROM sync_runs WHERE status = 'failed' AND id > coalesce((SELECT id FROM success), 0)
""")
