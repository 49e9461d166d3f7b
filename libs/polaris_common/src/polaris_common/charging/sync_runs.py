"""Sync runs: requested by anyone, executed by one sync-worker at a time."""

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from polaris_common.db import Repository
from polaris_common.models import SyncRun, SyncRunStatus


class SyncRunRepository(Repository[SyncRun]):
    """Every query on sync runs."""

    model = SyncRun

    async def request(self, trigger: str) -> int:
        """Ask for a run; requests that wait together are one run. The run's id."""
        await self.uow.execute(
            insert(SyncRun)
            .values(trigger=trigger)
            .on_conflict_do_nothing(index_elements=["status"], index_where=SyncRun.status == SyncRunStatus.REQUESTED)
        )
        waiting = select(SyncRun.id).where(SyncRun.status == SyncRunStatus.REQUESTED)
        return (await self.uow.session.execute(waiting)).scalar_one()

    async def start(self) -> SyncRun | None:
        """Begin the run that waits, if one does. Runs that a dead worker left running are marked failed.

        Only for the holder of the sync lock.
        """
        await self.uow.execute(
            update(SyncRun)
            .where(SyncRun.status == SyncRunStatus.RUNNING)
            .values(status=SyncRunStatus.FAILED, completed_at=func.now(), error="worker_died")
        )
        run = await self.one_or_none(select(SyncRun).where(SyncRun.status == SyncRunStatus.REQUESTED).with_for_update())
        if run is not None:
            run.status, run.started_at = SyncRunStatus.RUNNING, func.now()
        return run

    async def finish(self, run_id: int, *, seen: int, new: int, changed: int, error: str | None = None) -> None:
        """Close a run with its counts; ``error`` is a code."""
        await self.uow.execute(
            update(SyncRun)
            .where(SyncRun.id == run_id)
            .values(
                status=SyncRunStatus.COMPLETED if error is None else SyncRunStatus.FAILED,
                completed_at=func.now(),
                transactions_seen=seen,
                transactions_new=new,
                transactions_changed=changed,
                error=error,
            )
        )

    async def seconds_since_success(self) -> float | None:
        """Seconds since a run last completed, by the database's clock; None when none ever did."""
        age = func.extract("epoch", func.now() - func.max(SyncRun.completed_at))
        seconds = await self.uow.session.scalar(select(age).where(SyncRun.status == SyncRunStatus.COMPLETED))
        return None if seconds is None else float(seconds)
