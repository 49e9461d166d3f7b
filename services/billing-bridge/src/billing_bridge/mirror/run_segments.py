"""Segments of sync runs: what was read of Lago right after a run began, for whoever looks at that run.

Lago is read on its own cadence, whatever runs do. The first reading after a run has begun is recorded in it; the run's
outcome does not depend on it, and a run that is gone meanwhile disturbs no reading.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import text

from billing_bridge.mirror.sweeps import Swept
from polaris_common.charging.sync_runs import Counts, SyncRunRepository
from polaris_common.db import Database
from polaris_common.lago import LagoRefused, LagoUnavailable
from polaris_common.models import SegmentStatus


class Segment(StrEnum):
    """Their names, as clients know them."""

    SUBSCRIPTIONS = "lago_subscriptions"
    CUSTOMERS = "lago_customers"
    PLANS = "lago_plans"
    METRICS = "lago_billable_metrics"
    INVOICES = "lago_invoices"
    WALLETS = "lago_wallets"
    CARDS = "local_reconcile"
    """Cards follow the subscriptions that were read."""


_RUN = text("""
SELECT id FROM sync_runs AS r
WHERE id = (SELECT max(id) FROM sync_runs WHERE started_at IS NOT NULL) AND status <> 'cancelled'
  AND NOT EXISTS (
      SELECT FROM sync_run_segments WHERE sync_run_id = r.id AND segment = :segment AND status <> 'running')
""")


@dataclass
class Reading:
    """What a segment has come to."""

    counts: Counts = field(default_factory=Counts)
    due: bool = False
    """Something was read; what is not due is skipped."""
    doubtful: bool = False

    def add(self, swept: Swept) -> None:
        """Count one list."""
        self.due, self.doubtful = True, self.doubtful or not swept.believable
        self.counts.seen += swept.seen
        self.counts.changed += swept.changed + swept.deleted
        self.counts.failed += swept.skipped

    @property
    def outcome(self) -> SegmentStatus:
        """How it ended if it ends now."""
        if not self.due:
            return SegmentStatus.SKIPPED
        return SegmentStatus.WARNING if self.doubtful or self.counts.failed else SegmentStatus.SUCCESS


class RunSegments:
    """Records readings in the run that waits for them, if one does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self, segment: Segment) -> int | None:
        """The newest run that has begun, unless it was cancelled or has this segment already.

        Only one bridge reads a list at a time: a segment that is still open has been left by one that died.
        """
        async with self._database.unit_of_work() as uow:
            run_id: int | None = (await uow.execute(_RUN, {"segment": segment.value})).scalar_one_or_none()
            return run_id

    @asynccontextmanager
    async def recorded(self, run_id: int | None, segment: Segment) -> AsyncIterator[Reading]:
        """Record what the block reads; without a run nothing is recorded. What the block raises is raised again."""
        reading = Reading()
        if run_id is None:
            yield reading
            return
        await self._save(run_id, segment, reading, SegmentStatus.RUNNING)
        try:
            yield reading
        except (LagoUnavailable, LagoRefused) as problem:
            await self._save(run_id, segment, reading, SegmentStatus.ERROR, f"{type(problem).__name__}: {problem}")
            raise
        doubt = "The list lacks more than it shows; nothing is concluded from that" if reading.doubtful else None
        await self._save(run_id, segment, reading, reading.outcome, doubt)

    async def _save(
        self, run_id: int, segment: Segment, reading: Reading, status: SegmentStatus, said: str | None = None
    ) -> None:
        async with self._database.unit_of_work() as uow:
            runs = SyncRunRepository(uow)
            if await runs.save_segment(run_id, segment, reading.counts, status) and said is not None:
                level = "error" if status is SegmentStatus.ERROR else "warn"
                await runs.log(run_id, segment, level, said, None)
