"""After a restore: what Lago has and this copy of the database has forgotten is taken back before anything is billed.

A ledger that was restored from a backup does not know what was sold since. It would cut that energy again, in other
slices with other ids, and Lago would count both. So the database knows in which database it was last complete; when it
finds itself in another one (restored, failed over to a replica, upgraded into a new cluster) nothing is cut until Lago
has been asked for its events. Those that we do not know become slices again when their sessions are billed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import structlog

from billing_bridge.ledger.recovered import RecoveredEvent, RecoveredEvents
from billing_bridge.recovery.events import recovered_event
from billing_bridge.recovery.repository import RecoveryRepository
from polaris_common.db import AdvisoryLock, Database, LockName
from polaris_common.events.catalogue import OperatorNotice
from polaris_common.lago import LagoClient, LagoRefused, LagoUnavailable, wire
from polaris_common.observability.health import Component, report

log = structlog.get_logger(__name__)

_YEAR = timedelta(days=366)
_PERIODS = {
    "weekly": timedelta(days=7),
    "monthly": timedelta(days=31),
    "quarterly": timedelta(days=92),
    "semiannual": timedelta(days=184),
    "yearly": _YEAR,
}
"""The longest billing period of each of Lago's intervals."""

_CLOCKS_DIFFER = timedelta(days=1)
_AT_ONCE = 1_000


class Recovery:
    """Knows whether the ledger may be written, and makes it so."""

    def __init__(self, database: Database, lago: LagoClient, *, metric_code: str) -> None:
        self._database, self._lago, self._metric_code = database, lago, metric_code

    async def billing_allowed(self) -> bool:
        """Whether this database is the one that the ledger was last complete in."""
        async with self._database.unit_of_work() as uow:
            return await RecoveryRepository(uow).is_confirmed()

    async def look(self) -> None:
        """Ask Lago what it has, if this database has not been confirmed; one bridge at a time.

        Lago's being away changes nothing: it is asked again with the next look.
        """
        if await self.billing_allowed():
            return
        async with AdvisoryLock(self._database, LockName.LEDGER_RECOVERY) as lock:
            if not lock.held or await self.billing_allowed():
                return
            try:
                found = await self._recover()
            except (LagoUnavailable, LagoRefused) as error:
                log.warning("ledger_not_confirmed", error=type(error).__name__, reason=str(error))
                await self._note("not_confirmed")
                return
            async with self._database.unit_of_work() as uow:
                await RecoveryRepository(uow).confirm()
                if found:
                    uow.emit(_notice(found))
            await self._note(None)
            log.info("ledger_confirmed", recovered=found)

    async def _recover(self) -> int:
        """Keep every event that a period could hold which was open when this copy was made; how many are news."""
        async with self._database.unit_of_work() as uow:
            last_kept = await RecoveryRepository(uow).last_kept()
        until, found = datetime.now(UTC) + _CLOCKS_DIFFER, 0
        if not await self._may_have_some(last_kept - _YEAR - _CLOCKS_DIFFER, until):
            return 0
        for subscription, period in (await self._subscriptions()).items():
            since, some = last_kept - period - _CLOCKS_DIFFER, list[RecoveredEvent]()
            async for raw in self._lago.events(
                subscription=subscription, code=self._metric_code, since=since, until=until
            ):
                event = recovered_event(raw)
                if event is not None:
                    some.append(event)
                if len(some) >= _AT_ONCE:
                    found += await self._keep(some)
                    some.clear()
            found += await self._keep(some)
        return found

    async def _may_have_some(self, since: datetime, until: datetime) -> bool:
        """A Lago that never had an event needs not be asked about each subscription; one that is too large is."""
        try:
            return await self._lago.has_events(code=self._metric_code, since=since, until=until)
        except LagoUnavailable:
            return True

    async def _subscriptions(self) -> Mapping[str, timedelta]:
        """The longest period of each subscription, by its external id."""
        intervals = {wire.text(plan, "code"): wire.text(plan, "interval") async for plan in self._lago.plans()}
        periods: dict[str, timedelta] = {}
        async for each in self._lago.subscriptions():
            external_id = wire.text(each, "external_id")
            if external_id is not None:
                period = _PERIODS.get(intervals.get(wire.text(each, "plan_code")) or "", _YEAR)
                periods[external_id] = max(period, periods.get(external_id, timedelta()))
        return periods

    async def _keep(self, events: list[RecoveredEvent]) -> int:
        unique = {event.transaction_id: event for event in reversed(events)}  # ClickHouse lists the newest first
        async with self._database.unit_of_work() as uow:
            known = await RecoveryRepository(uow).known(unique.keys())
            news = [event for name, event in unique.items() if name not in known]
            if news:
                await RecoveredEvents(uow).keep(news)
        return len(news)

    async def _note(self, error: str | None) -> None:
        async with self._database.unit_of_work() as uow:
            await report(uow, Component.LEDGER_HOME, error=error)


def _notice(found: int) -> OperatorNotice:
    return OperatorNotice(
        kind="ledger_restored", severity="warn", source_type="system", source_id="ledger", detail=f"taken_over={found}"
    )
