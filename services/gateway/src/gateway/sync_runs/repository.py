"""Reading sync runs, for operators."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select

from gateway.lists import LeafingBack
from polaris_common.charging.sync_runs import SyncRunNotFound
from polaris_common.db import Repository
from polaris_common.db.pages import Page, Paging
from polaris_common.domain.cadence import Tier
from polaris_common.models import ChargerCadence, SyncRun, SyncRunLog, SyncRunSegment, SyncRunStatus

SCHEDULING, TRANSITIONS_SHOWN = "scheduling", 20


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

    async def last_activity_at(self) -> datetime | None:
        """When something last happened at any charge box."""
        latest: datetime | None = await self.uow.session.scalar(select(func.max(ChargerCadence.last_activity_at)))
        return latest

    async def quiet_ticks(self, fleet: Tier) -> int:
        """So many quiet evaluations in a row the charge boxes have had that hold the fleet in its tier."""
        fewest = select(func.min(ChargerCadence.quiet_ticks)).where(ChargerCadence.tier == fleet)
        return await self.uow.session.scalar(fewest) or 0

    async def transitions(self) -> Sequence[SyncRunLog]:
        """What the latest runs have said about the cadence, the latest first."""
        query = select(SyncRunLog).where(SyncRunLog.segment == SCHEDULING, SyncRunLog.context.is_not(None))
        return (await self.uow.session.scalars(query.order_by(SyncRunLog.id.desc()).limit(TRANSITIONS_SHOWN))).all()
