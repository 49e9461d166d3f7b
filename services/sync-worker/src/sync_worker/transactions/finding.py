"""Which transactions to ask SteVe for: those that may have changed, and ids that we have never seen.

SteVe's ids are dense and in the order of arrival, so an offline session that arrives late (old start, new id) and a row
that committed out of order are found all the same. Start times decide nothing.
"""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from polaris_common.charging.sessions import ChargingSessionRepository
from polaris_common.db import Database
from polaris_common.steve import SteveClient, SteveTransactions
from polaris_common.steve.transaction_calls import transactions_by_id

PROBE_BEHIND = 100
"""Ids this far below the highest are asked for again when missing: they may have committed late."""

PROBE_AHEAD = 100

REQUESTS_PER_POLL = 25
"""A poll that would need more leaves the rest to a run."""

SINGLE_MISSES = 3
"""Where ids are asked for one by one, so many in a row that do not exist are the end."""


@dataclass
class IdScan:
    """Looks for ids above what we know, lowest first, so that whatever is stored leaves no hole below it."""

    database: Database
    steve: SteveClient
    id_lists: bool
    complete: bool = False
    """The scan has reached the end of SteVe's ids."""

    async def new(self, highest: int, highest_active: int) -> AsyncIterator[SteveTransactions]:
        """Transactions that we do not know, in portions of rising id."""
        portions = self._portions if self.id_lists else self._singles
        async for portion in portions(highest, highest_active):
            yield portion

    async def _portions(self, highest: int, highest_active: int) -> AsyncIterator[SteveTransactions]:
        begin, end = max(1, highest - PROBE_BEHIND + 1), highest + PROBE_AHEAD
        for _ in range(REQUESTS_PER_POLL):
            async with self.database.unit_of_work() as uow:
                known = await ChargingSessionRepository(uow).present_ids(begin, end)
            found = await self._ask(set(range(begin, end + 1)) - known)
            yield found
            last = max(found.ids(), default=0)
            if last <= end - PROBE_AHEAD and end - PROBE_AHEAD >= highest_active:
                self.complete = True
                return
            begin, end = end + 1, end + 2 * PROBE_AHEAD

    async def _singles(self, highest: int, highest_active: int) -> AsyncIterator[SteveTransactions]:
        misses, asked = 0, highest
        for _ in range(REQUESTS_PER_POLL):
            asked += 1
            found = await self._ask({asked})
            yield found
            misses = 0 if len(found) else misses + 1
            if misses >= SINGLE_MISSES and asked >= highest_active:
                self.complete = True
                return

    async def _ask(self, ids: Collection[int]) -> SteveTransactions:
        return await transactions_by_id(self.steve, ids, id_lists=self.id_lists)
