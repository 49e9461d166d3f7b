"""Every query on the ledger's home and on events that only Lago remembered."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import text

from polaris_common.db import UnitOfWork

_CONFIRMED = text("SELECT coalesce((SELECT identity = database_identity() FROM ledger_home), false)")

_CONFIRM = text("""
INSERT INTO ledger_home (identity) VALUES (database_identity())
ON CONFLICT (id) DO UPDATE SET identity = excluded.identity, confirmed_at = now()
""")

_LAST_KEPT = text("""
SELECT coalesce((SELECT created_at FROM lago_events ORDER BY id DESC LIMIT 1), now() - interval '1 year')
""")

_KNOWN = text("""
SELECT transaction_id FROM lago_events WHERE transaction_id = ANY(CAST(:ids AS text[]))
UNION ALL SELECT transaction_id FROM recovered_events WHERE transaction_id = ANY(CAST(:ids AS text[]))
""")


class RecoveryRepository:
    """What recovery keeps, within one unit of work."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def is_confirmed(self) -> bool:
        """Whether this is the very database that the ledger was last known to be complete in."""
        confirmed: bool = (await self._uow.execute(_CONFIRMED)).scalar_one()
        return confirmed

    async def confirm(self) -> None:
        """From now on this database is the ledger's home."""
        await self._uow.execute(_CONFIRM)

    async def last_kept(self) -> datetime:
        """When the ledger was last written in this copy; a year ago, if it never was."""
        moment: datetime = (await self._uow.execute(_LAST_KEPT)).scalar_one()
        return moment

    async def known(self, ids: Collection[str]) -> set[str]:
        """Those of Lago's ids that we know."""
        return set((await self._uow.execute(_KNOWN, {"ids": list(ids)})).scalars())
