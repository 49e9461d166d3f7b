"""Every query on a ledger that is behind Lago."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text

from billing_bridge.restored.events import SoldInLago
from polaris_common.db import UnitOfWork

_HOME = "database_oid"

_AT_HOME = text("""
INSERT INTO billing_counters (name, value)
SELECT :name, d.oid::bigint FROM pg_database d WHERE d.datname = current_database()
ON CONFLICT (name) DO NOTHING
""")

_IS_AT_HOME = text("""
SELECT c.value = d.oid::bigint FROM pg_database d LEFT JOIN billing_counters c ON c.name = :name
WHERE d.datname = current_database()
""")

_MOVE_IN = text("""
UPDATE billing_counters SET value = (SELECT oid::bigint FROM pg_database WHERE datname = current_database())
WHERE name = :name
""")

_SPAN = text("""
SELECT coalesce((SELECT created_at FROM lago_events ORDER BY id DESC LIMIT 1), now()) - CAST(:back AS interval)
           AS since,
       now() + interval '1 day' AS until
""")

_KNOWN = text("SELECT transaction_id FROM lago_events WHERE transaction_id = ANY(CAST(:ids AS text[]))")

_LOCK = text("""
SELECT s.id, coalesce(b.slice_count, 0) AS slice_count,
       (SELECT count(*) FROM charging_sessions f WHERE f.former_transaction_id = s.steve_transaction_id) AS earlier
FROM charging_sessions s LEFT JOIN session_billing b ON b.session_id = s.id
WHERE s.steve_transaction_id = :id FOR UPDATE OF s
""")

_SLICE = text("""
INSERT INTO energy_slices (session_id, slice_index, layer, from_wh, to_wh, started_at, ended_at, final,
    subscription_external_id, late)
VALUES (:session, :index, :layer, :from_wh, :to_wh, :started_at, :ended_at, :final, :subscription, :late)
RETURNING id
""")

_EVENT = text("""
INSERT INTO lago_events (slice_id, transaction_id, body, status, delivered_at)
VALUES (:slice, :transaction, :body, 'delivered', now())
""")

_BILLING = text("""
INSERT INTO session_billing (session_id, status, billed_wh, slice_count) VALUES (:session, 'billing', :wh, :slices)
ON CONFLICT (session_id) DO UPDATE SET status = 'billing', reason = NULL,
    billed_wh = session_billing.billed_wh + excluded.billed_wh,
    slice_count = session_billing.slice_count + excluded.slice_count
""")

_LOOK_AGAIN = text("""
UPDATE charging_sessions SET revision = revision + 1, billed_revision = greatest(billed_revision, 1) WHERE id = :session
""")


class Place(NamedTuple):
    """Where in the ledger a session's events go."""

    session_id: int
    slice_count: int
    earlier_charges: int


class RestoredRepository:
    """The ledger's home and what it lacks, within one unit of work."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def is_at_home(self) -> bool:
        """Whether this is the database that the ledger was written in; a new ledger is at home where it is."""
        at_home: bool | None = (await self._uow.execute(_IS_AT_HOME, {"name": _HOME})).scalar_one()
        if at_home is None:
            await self._uow.execute(_AT_HOME, {"name": _HOME})
        return at_home is not False

    async def move_in(self) -> None:
        """The ledger is complete; this database is its home from now on."""
        await self._uow.execute(_MOVE_IN, {"name": _HOME})

    async def span(self, look_back: timedelta) -> tuple[datetime, datetime]:
        """Which stamps what the ledger lacks may have: from ``look_back`` before its newest event on."""
        row = (await self._uow.execute(_SPAN, {"back": look_back})).one()
        return row.since, row.until

    async def known(self, ids: Collection[str]) -> set[str]:
        """Those of these events that the ledger has."""
        return set((await self._uow.execute(_KNOWN, {"ids": list(ids)})).scalars())

    async def place(self, steve_transaction_id: int) -> Place | None:
        """The session, held until this unit of work ends; None while we do not know it."""
        row = (await self._uow.execute(_LOCK, {"id": steve_transaction_id})).one_or_none()
        return None if row is None else Place(row.id, row.slice_count, row.earlier)

    async def take_over(self, place: Place, events: Sequence[SoldInLago]) -> None:
        """Write what Lago has of a session into the ledger, as delivered, and make billing look at the rest."""
        for index, event in enumerate(events, start=place.slice_count):
            slice_values = {"session": place.session_id, "index": index, **event.slice_columns()}
            slice_id = (await self._uow.execute(_SLICE, slice_values)).scalar_one()
            body = {"slice": slice_id, "transaction": event.transaction_id, "body": event.body}
            await self._uow.execute(_EVENT, body)
        sold = {"wh": sum(event.sold_wh for event in events), "slices": len(events)}
        await self._uow.execute(_BILLING, {"session": place.session_id, **sold})
        await self._uow.execute(_LOOK_AGAIN, {"session": place.session_id})
