"""Every query on the ledger: what is due, what is known, what is written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select, text

from billing_bridge.ledger.session_books import DueSession
from polaris_common.db import UnitOfWork
from polaris_common.domain.corrections import Layered
from polaris_common.domain.payer import SubscriptionValue
from polaris_common.domain.slicing import Cut
from polaris_common.models import BillingStatus, ComponentHealth
from polaris_common.observability.health import Component

# Asked every second. PostgreSQL takes a third of all rows to be due and would read the whole of both tables for a join;
# a sub-select a row goes by the index, and rows that are due are few.
_DUE = text("""
SELECT id FROM (
    SELECT id FROM charging_sessions WHERE billed_revision < revision
    UNION ALL
    SELECT (SELECT s.id FROM charging_sessions s WHERE s.steve_transaction_id = m.steve_transaction_id)
    FROM live_meters m WHERE m.billed_revision < m.revision
) AS due WHERE id IS NOT NULL LIMIT :limit
""")

# Sessions of strangers' cards stay held for years and become many. Only a mapping frees them (one that commits late may
# look a little old), and what frees a quarantined session makes it due.
_HELD = text("""
SELECT session_id FROM session_billing
WHERE status = 'held' AND checked_at < CAST(:before AS timestamptz) AND CASE reason
    WHEN 'implausible' THEN false
    WHEN 'unmapped' THEN checked_at < (SELECT max(updated_at) FROM tag_mappings) + interval '10 minutes'
    ELSE true END
ORDER BY checked_at LIMIT :limit
""")

_LOCK = text(f"""
SELECT {", ".join(f"s.{name}" for name in DueSession._fields[:-1])},
       (SELECT count(*) FROM charging_sessions f WHERE f.former_transaction_id = s.steve_transaction_id)
FROM charging_sessions s
WHERE s.id = ANY(CAST(:ids AS bigint[])) ORDER BY s.id FOR UPDATE OF s SKIP LOCKED
""")  # noqa: S608 - our own names

_DECIDED = text("""
SELECT session_id, billed_wh, slice_count FROM session_billing WHERE session_id = ANY(CAST(:ids AS bigint[]))
""")

_ZONES = text("""
SELECT external_id, timezone FROM lago_customers
WHERE external_id = ANY(CAST(:customers AS text[])) AND deleted_at IS NULL
""")

_RESERVE_IDS = text("""
SELECT nextval(pg_get_serial_sequence('energy_slices', 'id')) FROM generate_series(1, CAST(:count AS int))
""")

_SLICE_COLUMNS = (
    "id",
    "session_id",
    "slice_index",
    "layer",
    "from_wh",
    "to_wh",
    "started_at",
    "ended_at",
    "final",
    "subscription_external_id",
    "late",
)
_EVENT_COLUMNS = ("slice_id", "transaction_id", "body")
_DECISION_COLUMNS = (
    "session_id",
    "status",
    "reason",
    "tag_mapping_id",
    "subscription_external_id",
    "billed_wh",
    "slice_count",
)

_DELIVERED = text("""
UPDATE lago_events SET status = 'delivered', delivered_at = now() WHERE transaction_id = ANY(CAST(:ids AS text[]))
""")

_RECORD = text("""
INSERT INTO session_billing (session_id, status, reason, tag_mapping_id, subscription_external_id, billed_wh,
    slice_count, checked_at)
SELECT v.*, now() FROM unnest(
    CAST(:sessions AS bigint[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]), CAST(:mappings AS bigint[]),
    CAST(:subscriptions AS text[]), CAST(:billed AS bigint[]), CAST(:counts AS int[])) AS v
ON CONFLICT (session_id) DO UPDATE SET status = excluded.status, reason = excluded.reason,
    tag_mapping_id = excluded.tag_mapping_id, subscription_external_id = excluded.subscription_external_id,
    billed_wh = excluded.billed_wh, slice_count = excluded.slice_count, checked_at = excluded.checked_at
""")

_SLICES = text("""
SELECT session_id, layer, from_wh, to_wh, started_at, ended_at, subscription_external_id FROM energy_slices
WHERE session_id = ANY(CAST(:ids AS bigint[])) ORDER BY session_id, slice_index
""")

_SUBSCRIPTIONS = text("""
SELECT s.external_id, s.external_customer_id, s.status, s.started_at, s.period_started_at, s.period_ending_at,
       s.mirrored_at, s.terminated_at AS ended_at,
       (SELECT :metric = ANY(p.metric_codes) FROM lago_plans p
        WHERE p.code = s.plan_code ORDER BY p.deleted_at NULLS FIRST LIMIT 1) AS charges_energy
FROM lago_subscriptions s
WHERE s.deleted_at IS NULL AND (s.external_customer_id = ANY(CAST(:customers AS text[]))
                                OR s.external_id = ANY(CAST(:named AS text[])))
""")


@dataclass(frozen=True)
class Decided:
    """What was decided about a session so far."""

    billed_wh: int = 0
    slice_count: int = 0


class NewDecision(NamedTuple):
    """What is decided about a session now."""

    session: DueSession
    status: BillingStatus
    reason: str | None
    subscription: str | None
    billed_wh: int
    slice_count: int


class NewSlice(NamedTuple):
    """One slice to be written, with its event."""

    session_id: int
    slice_index: int
    layer: int
    cut: Cut
    subscription: str
    late: bool
    transaction_id: str
    event: str

    @property
    def sold_wh(self) -> int:
        """The energy it sells; negative when it takes energy back."""
        energy = self.cut.to_wh - self.cut.from_wh
        return -energy if self.layer % 2 else energy


class LedgerRepository:
    """The ledger within one unit of work."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def due_ids(self, limit: int) -> list[int]:
        """Sessions that changed, or whose meter moved, since billing last looked."""
        return list(dict.fromkeys((await self._uow.execute(_DUE, {"limit": limit})).scalars()))

    async def moment(self, *, seconds_ago: float) -> datetime:
        """A time in the past, by the database's clock."""
        query = text("SELECT now() - make_interval(secs => :seconds)")
        moment: datetime = (await self._uow.execute(query, {"seconds": seconds_ago})).scalar_one()
        return moment

    async def held_ids(self, *, before: datetime, limit: int) -> list[int]:
        """Held sessions that have not been looked at since ``before`` and may be decided otherwise now."""
        return list((await self._uow.execute(_HELD, {"before": before, "limit": limit})).scalars())

    async def lock_sessions(self, ids: Iterable[int]) -> list[DueSession]:
        """The sessions, locked; those that somebody else holds are left to them."""
        return [DueSession._make(row) for row in await self._uow.execute(_LOCK, {"ids": list(ids)})]

    async def decided(self, ids: Sequence[int]) -> dict[int, Decided]:
        """What was decided so far, by session."""
        rows = await self._uow.execute(_DECIDED, {"ids": list(ids)})
        return {row.session_id: Decided(row.billed_wh, row.slice_count) for row in rows}

    async def slices(self, ids: Sequence[int]) -> dict[int, list[Layered]]:
        """The slices of each session that has some, in the order they were cut."""
        slices: dict[int, list[Layered]] = {}
        for row in await self._uow.execute(_SLICES, {"ids": list(ids)}):
            piece = Layered(
                layer=row.layer,
                from_wh=row.from_wh,
                to_wh=row.to_wh,
                started_at=row.started_at,
                ended_at=row.ended_at,
                subscription_external_id=row.subscription_external_id,
            )
            slices.setdefault(row.session_id, []).append(piece)
        return slices

    async def subscriptions(
        self, customers: Iterable[str], named: Iterable[str], *, metric_code: str
    ) -> list[SubscriptionValue]:
        """The mirrored subscriptions of these customers and those that mappings name."""
        values = {"customers": list(customers), "named": list(named), "metric": metric_code}
        return [SubscriptionValue(**row._mapping) for row in await self._uow.execute(_SUBSCRIPTIONS, values)]

    async def zones(self, customers: Iterable[str]) -> dict[str, str]:
        """The time zones that Lago bills these customers in."""
        rows = await self._uow.execute(_ZONES, {"customers": list(customers)})
        return {row.external_id: row.timezone for row in rows}

    async def lago_mirrored(self) -> bool:
        """Whether the subscriptions have been read completely at least once."""
        query = select(ComponentHealth.last_success_at).where(ComponentHealth.component == Component.LAGO_MIRROR)
        return await self._uow.session.scalar(query) is not None

    async def append(self, slices: Sequence[NewSlice]) -> None:
        """Write slices and their events, in the order in which they were cut; the ids keep it."""
        if not slices:
            return
        ids = (await self._uow.execute(_RESERVE_IDS, {"count": len(slices)})).scalars().all()
        numbered = list(zip(ids, slices, strict=True))
        await self._uow.copy("energy_slices", _SLICE_COLUMNS, [_slice_row(number, new) for number, new in numbered])
        events = [(number, new.transaction_id, new.event) for number, new in numbered]
        await self._uow.copy("lago_events", _EVENT_COLUMNS, events)

    async def mark_delivered(self, transaction_ids: Sequence[str]) -> None:
        """Lago is known to have these already."""
        await self._uow.execute(_DELIVERED, {"ids": list(transaction_ids)})

    async def record(self, decisions: Sequence[NewDecision]) -> None:
        """Store what was decided about each session, replacing what was decided before."""
        first = [_decision_row(new) for new in decisions if new.session.is_new]
        again = [_decision_row(new) for new in decisions if not new.session.is_new]
        if first:
            await self._uow.copy("session_billing", _DECISION_COLUMNS, first)
        if again:
            names = ("sessions", "statuses", "reasons", "mappings", "subscriptions", "billed", "counts")
            await self._uow.execute(_RECORD, dict(zip(names, map(list, zip(*again, strict=True)), strict=True)))


def _slice_row(number: int, new: NewSlice) -> tuple[object, ...]:
    cut = new.cut
    return (
        number,
        new.session_id,
        new.slice_index,
        new.layer,
        cut.from_wh,
        cut.to_wh,
        cut.started_at,
        cut.ended_at,
        cut.final,
        new.subscription,
        new.late,
    )


def _decision_row(new: NewDecision) -> tuple[object, ...]:
    session = new.session
    return (
        session.id,
        new.status.value,
        new.reason,
        session.tag_mapping_id,
        new.subscription,
        new.billed_wh,
        new.slice_count,
    )
