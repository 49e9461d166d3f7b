"""The segments of a run. Each is recorded by itself, and one that fails stops no other.

Transactions come first: nothing that tags or chargers do may delay what billing waits for.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date

import structlog
from sqlalchemy.exc import SQLAlchemyError

from polaris_common.charging.sync_runs import Counts, RunLost, SegmentRecord, recorded_segment
from polaris_common.db import Database
from polaris_common.interruption import Interrupted
from polaris_common.steve import SteveClient
from sync_worker.cadence.service import Cadence
from sync_worker.chargers.service import refresh_chargers
from sync_worker.runs.problems import STEVE_ERRORS, code_of
from sync_worker.tags.outcome import TagOutcome, TagWarning
from sync_worker.tags.service import TagSync
from sync_worker.transactions.passes import TransactionPasses
from sync_worker.transactions.service import TransactionSync

log = structlog.get_logger(__name__)

TRANSACTIONS, TAGS, CHARGERS, SCHEDULING = "transaction_sync", "tag_linking", "chargers", "scheduling"


class RunSegments:
    """What a run consists of, and how the current one has gone so far."""

    def __init__(
        self,
        database: Database,
        steve: SteveClient,
        transactions: TransactionSync,
        tags: TagSync,
        cadence: Cadence,
    ) -> None:
        self._database, self._steve = database, steve
        self._transactions, self._passes = transactions, TransactionPasses(transactions)
        self._tags, self._cadence = tags, cadence
        self.error: str | None = None
        """The code of the first thing that went wrong."""
        self.begin()

    def begin(self) -> None:
        """Another run begins."""
        self.error, self.transaction_counts, self._reachable = None, Counts(), True

    async def probe(self, run_id: int) -> Exception | None:
        """Whether SteVe can be asked at all; if not, its segments are closed with the reason."""
        try:
            await self._transactions.capabilities(again=True)
        except STEVE_ERRORS as problem:
            self._reachable = False
            for segment in (TRANSACTIONS, TAGS, CHARGERS):
                async with self._guarded(run_id, segment):
                    raise problem
            return problem
        return None

    async def transactions(self, run_id: int, *, whole: bool, history: bool, today: date) -> None:
        """Sessions follow SteVe's transactions."""
        async with self._guarded(run_id, TRANSACTIONS) as record:
            self.transaction_counts = record.counts
            await self._passes.run(record, whole=whole, history=history, today=today)

    async def others(self, run_id: int) -> None:
        """Tags and their limits, then the registry; new tags may have brought sessions an owner."""
        async with self._guarded(run_id, TAGS) as record:
            await self._link_tags(record)
        async with self._guarded(run_id, CHARGERS) as record:
            await refresh_chargers(self._database, self._steve, await self._transactions.capabilities(), record)

    async def scheduling(self, run_id: int) -> None:
        """The cadence is evaluated after every run, also after one that failed."""
        async with self._guarded(run_id, SCHEDULING) as record:
            await self._cadence.evaluate(record, reachable=self._reachable)

    async def _link_tags(self, record: SegmentRecord) -> None:
        outcome = TagOutcome()

        def count() -> None:
            counts = record.counts
            counts.seen, counts.new, counts.changed = outcome.seen, outcome.new, outcome.changed
            counts.held, counts.failed = outcome.held, outcome.failed

        async def show() -> None:
            count()
            await record.save_now_and_then()

        try:
            await self._tags.reconcile_tags(record.run_id, outcome, progress=show)
        finally:
            count()
        await record.log("info", "Tags compared", activated=outcome.activated, deactivated=outcome.deactivated)
        for warning in outcome.warnings:
            await record.log("info" if warning is TagWarning.DISABLED else "warn", warning.value)
        attached = await self._transactions.attach_owners()
        if attached:
            await record.log("info", "Sessions found their owner", sessions=attached)

    @asynccontextmanager
    async def _guarded(self, run_id: int, segment: str) -> AsyncIterator[SegmentRecord]:
        """Record a segment; what goes wrong in it is the run's outcome, not its end.

        Only a database that is away, a run that is no longer ours, or an operator ends the run itself.
        """
        try:
            async with recorded_segment(self._database, run_id, segment) as record:
                yield record
        except (OSError, SQLAlchemyError, RunLost, Interrupted):
            raise
        except Exception as problem:
            self._reachable = self._reachable and not isinstance(problem, STEVE_ERRORS)
            self.error = self.error or code_of(problem)
            if isinstance(problem, STEVE_ERRORS):
                log.warning("segment_failed", run=run_id, segment=segment, error=code_of(problem), reason=str(problem))
            else:
                log.exception("segment_failed", run=run_id, segment=segment)
