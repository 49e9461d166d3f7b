"""What a run reads of SteVe's transactions: the whole table when a pass is owed, what may have changed otherwise."""

import math
from datetime import date, datetime, timedelta

from polaris_common.charging.schedule import ScheduleRepository
from polaris_common.charging.session_changes import Kept, KnownSession
from polaris_common.charging.sessions import Applied, ChargingSessionRepository
from polaris_common.charging.sync_runs import SegmentRecord
from polaris_common.energy import EnergyError, parse_wh
from polaris_common.steve import SteveProtocolError
from polaris_common.steve.transaction_calls import (
    EVERYTHING,
    LAST_30_DAYS,
    stop_report,
    streamed_transactions,
    transactions_by_id,
)
from polaris_common.steve.wire import SteveReportedStop
from sync_worker.transactions.service import CHUNK, Looked, TransactionSync

MANUAL_STOPS_FOR = timedelta(days=30)
"""So long after a manual stop has settled a session every run looks whether the station's own has replaced it."""

REPORT_SPAN = timedelta(days=2)
"""How far back by stop time the report is compared in every run."""

CLOCKS_AHEAD = timedelta(days=1)
"""Stations may be ahead of SteVe, and SteVe of us."""

_KEPT = {
    Kept.NOT_BELIEVED: "A settled session keeps its value: SteVe's new one is not believable",
    Kept.ANOTHER: "SteVe shows a session again whose id another one has by now; nothing is changed",
}
VANISHED = "Transactions have vanished from SteVe; ours are kept"
REUSED = "SteVe has used transaction ids again: the sessions that had them keep their history, the others are new"
LOGGED_ROWS = 20


class TransactionPasses:
    """The segment ``transaction_sync`` of a run."""

    def __init__(self, transactions: TransactionSync) -> None:
        self._transactions = transactions
        self._database, self._steve = transactions.database, transactions.steve

    async def run(self, record: SegmentRecord, *, whole: bool, history: bool, today: date) -> None:
        """Read, store and record; ``whole``: SteVe's whole table; ``history``: for the first time.

        Raises:
            SteveUnavailable, SteveProtocolError, SteveRefused: what was stored until then stays.
        """
        if whole:
            await self._whole(record, history=history)
            async with self._database.unit_of_work() as uow:
                await ScheduleRepository(uow).whole_pass_done(today)
        else:
            await self._changes(record)
        zombies = await self._transactions.find_zombies()
        if zombies:
            await record.log("warn", "Open sessions were set aside or taken back", sessions=zombies)
        attached = await self._transactions.attach_owners()
        if attached:
            await record.log("info", "Sessions found their owner", sessions=attached)
        record.counts.changed += zombies + attached
        await record.save()

    async def _changes(self, record: SegmentRecord) -> None:
        await record.log("info", "Looking for what changed")
        await self._count(record, await self._transactions.look(closed_manually=MANUAL_STOPS_FOR))
        capabilities = await self._transactions.capabilities()
        if capabilities.stop_report:
            try:
                await self._compare_report(record)
            except SteveProtocolError as unreadable:
                await record.log("warn", "SteVe's report by stop time cannot be read", reason=str(unreadable))
                await self._compare_list(record)
        elif not capabilities.id_lists:
            await self._compare_list(record)

    async def _compare_list(self, record: SegmentRecord) -> None:
        async with streamed_transactions(self._steve, LAST_30_DAYS) as batches:
            async for batch in batches:
                await self._count(record, await self._transactions.store(batch))

    async def _compare_report(self, record: SegmentRecord) -> None:
        """Late and replaced stops show by their stop time; what differs is read by id."""
        async with self._database.unit_of_work() as uow:
            now = (await ScheduleRepository(uow).read()).now
        reported = await stop_report(self._steve, now - REPORT_SPAN, now + CLOCKS_AHEAD)
        outdated: set[int] = set()
        for begin in range(0, len(reported), CHUNK):
            outdated |= await self._outdated(reported[begin : begin + CHUNK])
        if outdated:
            await record.log("info", "The report by stop time shows changes", transactions=len(outdated))
            found = await transactions_by_id(self._steve, outdated, id_lists=True)
            await self._count(record, await self._transactions.store(found))

    async def _outdated(self, reported: list[SteveReportedStop]) -> set[int]:
        async with self._database.unit_of_work() as uow:
            known = await ChargingSessionRepository(uow).known_stops([stop.transaction_id for stop in reported])
        return {stop.transaction_id for stop in reported if _differs(stop, known.get(stop.transaction_id))}

    async def _whole(self, record: SegmentRecord, *, history: bool) -> None:
        """The whole table, newest id first, a batch at a time; what we have and SteVe has not has vanished."""
        async with self._database.unit_of_work() as uow:
            highest = await ChargingSessionRepository(uow).highest_transaction_id()
        await record.log("info", "Reading SteVe's whole table", first_time=history)
        missing, below = set[int](), math.inf
        async with streamed_transactions(self._steve, EVERYTHING) as batches:
            async for batch in batches:
                await self._count(record, await self._transactions.store(batch, history=history))
                ids = batch.ids()
                if not ids:
                    continue
                if max(ids) >= below:
                    await record.log("warn", "SteVe's table came in no order; vanished transactions are not looked for")
                    missing, highest, below = set(), 0, math.inf
                    continue
                top = max(highest, *ids) if below == math.inf else int(below) - 1
                missing |= await self._missing(min(ids), top, ids)
                below = min(ids)
        await self._conclude(record, missing, highest if below == math.inf else int(below) - 1)

    async def _conclude(self, record: SegmentRecord, missing: set[int], rest: int) -> None:
        """``rest``: the highest id that the table did not reach down to."""
        if not record.counts.seen:
            if rest:
                await record.log("warn", "SteVe showed no transaction at all; nothing is concluded from that")
            return
        vanished = await self._transactions.vanish(missing | await self._missing(0, rest, set()))
        if vanished:
            await record.log("warn", VANISHED, transactions=vanished)
            record.counts.changed += vanished

    async def _missing(self, first: int, last: int, there: set[int]) -> set[int]:
        async with self._database.unit_of_work() as uow:
            return await ChargingSessionRepository(uow).present_ids(first, last) - there

    async def _count(self, record: SegmentRecord, looked: Looked) -> None:
        counts, applied = record.counts, looked.applied
        counts.seen, counts.failed = counts.seen + looked.seen, counts.failed + looked.unreadable
        counts.new, counts.held = counts.new + applied.new, counts.held + applied.held
        counts.changed += applied.changed + looked.vanished
        if looked.unreadable:
            await record.log("error", "Transactions could not be read", transactions=looked.unreadable)
        if looked.vanished:
            await record.log("warn", VANISHED, transactions=looked.vanished)
        if applied.reused:
            ids = sorted(applied.reused)
            await record.log("error", REUSED, transactions=ids[:LOGGED_ROWS], number=len(ids))
        await self._log_kept(record, applied)
        if looked.seen:
            await record.save()

    async def _log_kept(self, record: SegmentRecord, applied: Applied) -> None:
        for reason, message in _KEPT.items():
            ids = [transaction_id for transaction_id, why in applied.kept if why is reason]
            if ids:
                await record.log("warn", message, transactions=ids[:LOGGED_ROWS], number=len(ids))


def _differs(reported: SteveReportedStop, ours: KnownSession | None) -> bool:
    if ours is None or ours.stopped_at is None:
        return True
    if (_to_ms(ours.stopped_at), ours.stop_actor) != (_to_ms(reported.stop_timestamp), reported.stop_event_actor):
        return True
    try:
        return ours.stop_wh != parse_wh(reported.stop_value)
    except EnergyError:
        return ours.stop_wh is not None


def _to_ms(moment: datetime) -> datetime:
    """SteVe's list has milliseconds, its report may have more."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
