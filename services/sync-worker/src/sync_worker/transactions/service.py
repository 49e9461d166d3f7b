"""Following SteVe's transactions: what it shows becomes sessions, whatever the order, the delay or the outage."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from polaris_common.charging.mappings import TagMappingRepository
from polaris_common.charging.schedule import ScheduleRepository
from polaris_common.charging.sessions import Applied, ChargingSessionRepository
from polaris_common.charging.sync_runs import SyncRunRepository, Trigger
from polaris_common.db import Database
from polaris_common.domain.session_state import SILENT_AFTER, Limits
from polaris_common.events.catalogue import OperatorNotice
from polaris_common.jobs import Jobs
from polaris_common.steve import SteveClient, SteveTransaction, SteveTransactions
from polaris_common.steve.probe import Capabilities, probe
from polaris_common.steve.transaction_calls import active_transactions, transactions_by_id
from sync_worker.chargers.repository import ChargerRepository
from sync_worker.transactions.finding import IdScan

log = structlog.get_logger(__name__)

CHUNK = 1_000
TAGS_AT_ONCE = 1_000
STOP_EXPECTED_FOR = timedelta(seconds=30)
"""After its last samples; a stop that is later still is found by the regular poll."""


@dataclass
class Looked:
    """What a look at SteVe has come to: how much was seen, what it changed, what could not be read."""

    applied: Applied
    seen: int = 0
    unreadable: int = 0
    vanished: int = 0

    def add(self, more: "Looked") -> None:
        """Count another part."""
        self.applied.add(more.applied)
        self.seen, self.unreadable = self.seen + more.seen, self.unreadable + more.unreadable
        self.vanished += more.vanished


class TransactionSync:
    """Brings our charging sessions to what SteVe shows."""

    def __init__(
        self,
        database: Database,
        steve: SteveClient,
        jobs: Jobs,
        *,
        limits: Limits | None = None,
        silent_after: timedelta = SILENT_AFTER,
    ) -> None:
        self.database, self.steve = database, steve
        self._jobs, self._limits, self._silent_after = jobs, limits or Limits(), silent_after
        self._capabilities: Capabilities | None = None

    async def capabilities(self, *, again: bool = False) -> Capabilities:
        """What this SteVe can do; asked once, and ``again`` in every run, since it may have been upgraded.

        Raises:
            SteveUnavailable, SteveProtocolError, SteveRefused: nothing is known.
        """
        if self._capabilities is None or again:
            found = await probe(self.steve)
            if found != self._capabilities:
                log.info("steve_probed", version=found.version)
            self._capabilities = found
        return self._capabilities

    async def poll(self) -> Looked:
        """Find what began, ended or appeared since the last poll; cheap when nothing did.

        Raises:
            SteveUnavailable, SteveProtocolError, SteveRefused: nothing is concluded from a failed read.
        """
        looked = await self.look(closed_manually=timedelta())
        if looked.applied.new:
            await self.find_zombies()
        await self.attach_owners()
        return looked

    async def stop_expected(self) -> bool:
        """Whether a station has said that a transaction ends, and SteVe has not shown its stop yet."""
        async with self.database.glance() as uow:
            return await ChargingSessionRepository(uow).stop_expected(STOP_EXPECTED_FOR)

    async def look(self, *, closed_manually: timedelta) -> Looked:
        """Read the open transactions, those that may have changed by id, and ids that we do not know.

        ``closed_manually``: look also at sessions that a manual stop has settled within that time.
        """
        id_lists = (await self.capabilities()).id_lists
        active = await active_transactions(self.steve)
        async with self.database.unit_of_work() as uow:
            sessions = ChargingSessionRepository(uow)
            followed = await sessions.followed_ids(closed_manually=closed_manually)
            # SteVe goes on where it was, also above what has vanished; one that was replaced begins anew.
            beginnings = {await sessions.highest_transaction_id(), await sessions.highest_transaction_id_ever()}
        looked = await self._reread(followed - active.ids(), id_lists=id_lists)
        scans = [IdScan(self.database, self.steve, id_lists) for _ in beginnings]
        for scan, highest in zip(scans, sorted(beginnings), strict=True):
            async for portion in scan.new(highest, max(active.ids(), default=0)):
                looked.add(await self.store(portion))
        looked.add(await self.store(active))
        if not all(scan.complete for scan in scans) or looked.applied.reused:
            await self._leave_to_a_run()
        return looked

    async def store(self, found: SteveTransactions, *, history: bool = False) -> Looked:
        """Store what an answer had."""
        applied = await self.apply(found.readable, history=history)
        return Looked(applied, seen=len(found), unreadable=len(found.unreadable))

    async def apply(self, seen: Sequence[SteveTransaction], *, history: bool = False) -> Applied:
        """Store what was seen, oldest id first, some at a time, each with all that follows from it."""
        total = Applied()
        ordered = sorted(seen, key=lambda transaction: transaction.id)
        for begin in range(0, len(ordered), CHUNK):
            async with self.database.unit_of_work() as uow:
                applied = await ChargingSessionRepository(uow).apply(
                    ordered[begin : begin + CHUNK], limits=self._limits, history=history
                )
                if applied.reused:
                    log.error("steve_ids_used_again", transactions=len(applied.reused))
                    uow.emit(_ids_used_again(len(applied.reused)))
                if applied.new or applied.changed:
                    await ChargerRepository(uow).observed(applied.connectors)
                    schedule = ScheduleRepository(uow)
                    if history:
                        await schedule.remember(applied.latest)
                    else:
                        await schedule.promote({charge_box_id for charge_box_id, _ in applied.connectors})
                    uow.after_commit(self._jobs.bill_due)
            total.add(applied)
        return total

    async def find_zombies(self) -> int:
        """Set sessions aside that will not end by themselves; the number moved."""
        async with self.database.unit_of_work() as uow:
            moved = await ChargingSessionRepository(uow).find_zombies(silent_after=self._silent_after)
            if moved:
                await ChargerRepository(uow).notice_statuses()
                uow.after_commit(self._jobs.bill_due)
        return moved

    async def vanish(self, missing: set[int]) -> int:
        """SteVe no longer shows these ids; those that it does not have by id either are marked. The number marked."""
        if not missing:
            return 0
        id_lists = (await self.capabilities()).id_lists
        marked, wanted = 0, sorted(missing)
        for begin in range(0, len(wanted), CHUNK):
            chunk = set(wanted[begin : begin + CHUNK])
            there = (await transactions_by_id(self.steve, chunk, id_lists=id_lists)).ids()
            async with self.database.unit_of_work() as uow:
                marked += await ChargingSessionRepository(uow).vanish(chunk - there)
                await ChargerRepository(uow).notice_statuses()
                uow.after_commit(self._jobs.bill_due)
        return marked

    async def attach_owners(self) -> int:
        """Give ownerless sessions to mappings that have appeared since; the number given."""
        attached = 0
        async with self.database.unit_of_work() as uow:
            sessions = ChargingSessionRepository(uow)
            id_tags = await sessions.ownerless_id_tags()
            for begin in range(0, len(id_tags), TAGS_AT_ONCE):
                chunk = id_tags[begin : begin + TAGS_AT_ONCE]
                owners = await TagMappingRepository(uow).owners(chunk)
                for id_tag in chunk:
                    owner = owners[id_tag.lower()]
                    if owner is not None:
                        attached += await sessions.attach(id_tag, owner)
            if attached:
                uow.after_commit(self._jobs.bill_due)
        return attached

    async def _reread(self, ids: set[int], *, id_lists: bool) -> Looked:
        """Sessions that may have changed, by id; SteVe's complete answer without one of them says that it is gone."""
        if not ids:
            return Looked(Applied())
        found = await transactions_by_id(self.steve, ids, id_lists=id_lists)
        looked = await self.store(found)
        async with self.database.unit_of_work() as uow:
            looked.vanished = await ChargingSessionRepository(uow).vanish(ids - found.ids())
            if looked.vanished:
                await ChargerRepository(uow).notice_statuses()
                uow.after_commit(self._jobs.bill_due)
        return looked

    async def _leave_to_a_run(self) -> None:
        """A poll may not have found everything (there is too much, or ids begin anew), so a whole pass is owed.

        At once, unless an operator has just cancelled one: then the next regular run makes it.
        """
        async with self.database.unit_of_work() as uow:
            await ScheduleRepository(uow).owe_whole_pass()
            runs = SyncRunRepository(uow)
            if await runs.last_was_cancelled():
                return
            await runs.request(Trigger.BACKLOG)
            uow.after_commit(self._jobs.sync_run)
        log.info("backlog_left_to_a_run")


def _ids_used_again(transactions: int) -> OperatorNotice:
    return OperatorNotice(
        kind="steve_ids_used_again",
        severity="error",
        source_type="system",
        source_id="steve",
        detail=f"transactions={transactions}",
    )
