"""A database that was restored from a backup knows less than Lago has.

Readings between two polls are gone with it, so the same energy would be cut into other slices and billed again under
other ids. Nothing is sold until what Lago has is in the ledger again. That the database is not the one in which the
ledger was written shows by PostgreSQL's own number for it; one that has only moved lacks nothing and goes on at once.
"""

import time
from collections.abc import Iterable
from datetime import timedelta
from itertools import groupby

import structlog
from sqlalchemy import select

from billing_bridge.restored.events import SoldInLago, read_back
from billing_bridge.restored.repository import RestoredRepository
from polaris_common.charging.schedule import ScheduleRepository
from polaris_common.charging.sync_runs import SyncRunRepository, Trigger
from polaris_common.db import AdvisoryLock, Database, LockName
from polaris_common.db.outages import is_outage
from polaris_common.events.catalogue import OperatorNotice
from polaris_common.lago import LagoClient, LagoRefused, LagoUnavailable, wire
from polaris_common.models import SyncRun

log = structlog.get_logger(__name__)

AGAIN_AFTER_SECONDS = 15.0

LOOK_BACK = timedelta(days=62)
"""What a backup lacks was stamped with its time of use, which may be as old as the billing period."""


class RestoredLedger:
    """Says whether the ledger is complete, and completes it."""

    def __init__(
        self,
        database: Database,
        lago: LagoClient,
        *,
        metric_code: str,
        look_back: timedelta = LOOK_BACK,
        again_after_seconds: float = AGAIN_AFTER_SECONDS,
    ) -> None:
        self._database, self._lago, self._metric_code = database, lago, metric_code
        self._look_back, self._again_after = look_back, again_after_seconds
        self._again_at = 0.0
        self._taken_over = 0
        self._run_id: int | None = None
        """The sync run that finds the sessions which the backup lacks."""

    async def is_complete(self) -> bool:
        """Whether billing may go on; where the ledger was restored, an attempt is made to complete it."""
        async with self._database.unit_of_work() as uow:
            if await RestoredRepository(uow).is_at_home():
                return True
        if time.monotonic() < self._again_at:
            return False
        self._again_at = time.monotonic() + self._again_after
        async with AdvisoryLock(self._database, LockName.LAGO_RECONCILIATION) as lock:
            return lock.held and await self._complete()

    async def _complete(self) -> bool:
        try:
            lacking = await self._lacking()
        except (LagoUnavailable, LagoRefused) as error:
            log.warning("ledger_not_completed", error=type(error).__name__)
            return False
        left = await self._take_over(lacking)
        self._taken_over += len(lacking) - left
        if left and not await self._steve_was_read():
            log.info("ledger_waits_for_sessions", events=left)
            return False
        async with self._database.unit_of_work() as uow:
            await RestoredRepository(uow).move_in()
            uow.emit(
                OperatorNotice(
                    kind="ledger_restored",
                    severity="error" if left else "warn",
                    source_type="system",
                    source_id="ledger",
                    detail=f"taken_over={self._taken_over} left={left}",
                )
            )
        log.warning("ledger_completed", taken_over=self._taken_over, left=left)
        self._run_id, self._taken_over = None, 0
        return True

    async def _steve_was_read(self) -> bool:
        """Whether a run has read SteVe's whole table since; what we still do not know then is not there either."""
        async with self._database.unit_of_work() as uow:
            query = select(SyncRun.status).where(SyncRun.id == self._run_id)
            status = await uow.session.scalar(query) if self._run_id is not None else None
            if status in ("requested", "running", "completed"):
                return bool(status == "completed")
            await ScheduleRepository(uow).owe_whole_pass()
            self._run_id = await SyncRunRepository(uow).request(Trigger.BACKLOG)
            return False

    async def _lacking(self) -> list[SoldInLago]:
        """The events of ours that Lago has and the ledger has not."""
        async with self._database.unit_of_work() as uow:
            since, until = await RestoredRepository(uow).span(self._look_back)
        named = [wire.text(raw, "external_id") async for raw in self._lago.subscriptions()]
        lacking: list[SoldInLago] = []
        for subscription in sorted({name for name in named if name is not None}):
            shown: dict[str, SoldInLago] = {}
            listed = self._lago.events(subscription=subscription, code=self._metric_code, since=since, until=until)
            async for raw in listed:
                if (event := read_back(raw)) is not None:
                    shown.setdefault(event.transaction_id, event)
            async with self._database.unit_of_work() as uow:
                known = await RestoredRepository(uow).known(shown)
            lacking += [event for name, event in shown.items() if name not in known]
        return lacking

    async def _take_over(self, lacking: Iterable[SoldInLago]) -> int:
        """Session by session, the layers below first; how many events could not be taken over."""
        ordered = sorted(lacking, key=lambda event: (event.steve_transaction_id, event.layer, event.from_wh))
        left = 0
        for transaction, group in groupby(ordered, key=lambda event: event.steve_transaction_id):
            events = list(group)
            try:
                left += await self._take_over_session(transaction, events)
            except Exception as error:
                if is_outage(error):
                    raise
                log.error("session_not_taken_over", transaction=transaction, error=type(error).__name__)
                left += len(events)
        return left

    async def _take_over_session(self, transaction: int, events: list[SoldInLago]) -> int:
        async with self._database.unit_of_work() as uow:
            restored = RestoredRepository(uow)
            place = await restored.place(transaction)
            if place is None or any(event.earlier_charges != place.earlier_charges for event in events):
                return len(events)
            await restored.take_over(place, events)
        return 0
