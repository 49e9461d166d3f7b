"""Following SteVe's transactions without relying on start times.

The poll reads the open ones, re-reads by id those we still think unsettled, and asks for ids we have never seen around
and beyond the highest we know: SteVe's ids are dense, so an offline session that arrives late (old start, new id) and a
row that committed out of order are found all the same.
"""

from collections.abc import Sequence

import structlog

from polaris_common.charging.mappings import TagMappingRepository
from polaris_common.charging.sessions import Applied, ChargingSessionRepository
from polaris_common.db import Database
from polaris_common.jobs import Jobs
from polaris_common.steve import SteveClient, SteveTransaction

log = structlog.get_logger(__name__)

CHUNK = 250
PROBE_BEHIND = 100
"""Ids this far below the highest are asked for again when missing: they may have committed late."""
PROBE_AHEAD = 100
FULL_PASS_GAP = 5_000
"""When so many ids are unknown, reading the whole table is cheaper than asking by id."""


class TransactionSync:
    """Brings our charging sessions to what SteVe shows."""

    def __init__(self, database: Database, steve: SteveClient, jobs: Jobs) -> None:
        self._database, self._steve, self._jobs = database, steve, jobs

    async def poll(self) -> Applied:
        """Find what changed since the last poll.

        Raises:
            SteveUnavailable, SteveProtocolError, SteveRefused: nothing is concluded from a failed read.
        """
        active = await self._steve.active_transactions()
        async with self._database.unit_of_work() as uow:
            sessions = ChargingSessionRepository(uow)
            unsettled, highest = await sessions.unsettled_ids(), await sessions.highest_transaction_id()
        seen = {transaction.id: transaction for transaction in active}
        closed = await self._steve.transactions_by_id(unsettled - seen.keys())
        seen |= {transaction.id: transaction for transaction in closed}
        seen |= await self._unknown(highest, max(seen, default=0), set(seen))
        applied = await self.apply(list(seen.values()))
        await self.attach_owners()
        return applied

    async def full_pass(self) -> tuple[int, Applied]:
        """Read SteVe's whole table; the number seen and what changed."""
        everything = await self._steve.all_transactions()
        return len(everything), await self.apply(everything)

    async def apply(self, seen: Sequence[SteveTransaction]) -> Applied:
        """Store what was seen, oldest id first, a few hundred a transaction."""
        total = Applied()
        ordered = sorted(seen, key=lambda transaction: transaction.id)
        for begin in range(0, len(ordered), CHUNK):
            chunk = ordered[begin : begin + CHUNK]
            async with self._database.unit_of_work() as uow:
                owners = await TagMappingRepository(uow).owners({transaction.id_tag for transaction in chunk})
                applied = await ChargingSessionRepository(uow).apply(chunk, owners)
                if applied.new or applied.changed:
                    uow.after_commit(self._jobs.bill_due)
            total.new += applied.new
            total.changed += applied.changed
        return total

    async def attach_owners(self) -> int:
        """Give ownerless sessions to mappings that have appeared since; the number given."""
        attached = 0
        async with self._database.unit_of_work() as uow:
            sessions = ChargingSessionRepository(uow)
            id_tags = await sessions.ownerless_id_tags()
            owners = await TagMappingRepository(uow).owners(id_tags)
            for id_tag in id_tags:
                owner = owners[id_tag.lower()]
                if owner is not None:
                    attached += await sessions.attach(id_tag, owner)
            if attached:
                uow.after_commit(self._jobs.bill_due)
        return attached

    async def _unknown(self, highest: int, highest_active: int, seen: set[int]) -> dict[int, SteveTransaction]:
        """Transactions with ids we have never seen."""
        if highest_active - highest > FULL_PASS_GAP:
            return {transaction.id: transaction for transaction in await self._steve.all_transactions()}
        found: dict[int, SteveTransaction] = {}
        begin, end = max(1, highest - PROBE_BEHIND), max(highest, highest_active) + PROBE_AHEAD
        while True:
            async with self._database.unit_of_work() as uow:
                known = await ChargingSessionRepository(uow).known_ids(begin, end)
            wanted = set(range(begin, end + 1)) - known - seen
            answer = {transaction.id: transaction for transaction in await self._steve.transactions_by_id(wanted)}
            found |= answer
            if not any(transaction_id > end - PROBE_AHEAD for transaction_id in answer):
                return found
            begin, end = end + 1, end + PROBE_AHEAD
