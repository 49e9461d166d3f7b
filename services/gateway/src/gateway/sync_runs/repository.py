"""Reading sync runs, for operators."""

from collections.abc import Sequence

from sqlalchemy import select

from gateway.lists import LeafingBack
from polaris_common.charging.sync_runs import SyncRunNotFound
from polaris_common.db import Repository
from polaris_common.db.pages import Page, Paging
from polaris_common.models import SyncRun, SyncRunLog, SyncRunSegment, SyncRunStatus


class SyncRunReader(Repository[SyncRun]):
    """Every query on runs as operators look at them."""

    model = SyncRun

    async def list(self, status: SyncRunStatus | None, paging: Paging) -> Page[SyncRun]:
        """The latest first."""
        query = select(SyncRun).order_by(SyncRun.id.desc())
        return await self.page(query if status is None else query.where(SyncRun.status == status), paging)

    async def get(self, run_id: int) -> SyncRun:
        """One run.

        Raises:
            SyncRunNotFound: there is none.
        """
        run = await self.one_or_none(select(SyncRun).where(SyncRun.id == run_id))
        if run is None:
            raise SyncRunNotFound
        return run

    async def segments(self, run_id: int) -> Sequence[SyncRunSegment]:
        """The parts of a run as they began."""
        query = select(SyncRunSegment).where(SyncRunSegment.sync_run_id == run_id)
        ordered = query.order_by(SyncRunSegment.started_at, SyncRunSegment.segment)
        return (await self.uow.session.scalars(ordered)).all()

    async def log(self, run_id: int, segment: str | None, leafing: LeafingBack) -> Sequence[SyncRunLog]:
        """The latest lines first."""
        query = select(SyncRunLog).where(SyncRunLog.sync_run_id == run_id)
        if segment is not None:
            query = query.where(SyncRunLog.segment == segment)
        if leafing.before is not None:
            query = query.where(SyncRunLog.id < leafing.before)
        return (await self.uow.session.scalars(query.order_by(SyncRunLog.id.desc()).limit(leafing.to_read))).all()
