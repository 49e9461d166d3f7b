"""Every query on the ledger: what is due, what is known, what is written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text

from billing_bridge.ledger.session_books import DueSession
from polaris_common.db import UnitOfWork
from polaris_common.domain.corrections import Layered
from polaris_common.domain.payer import SubscriptionValue
from polaris_common.domain.slicing import Cut
from polaris_common.models import BillingStatus, ComponentHealth
from polaris_common.observability.health import Component

_DUE = text("""
SELECT id FROM charging_sessions WHERE billed_revision < revision
UNION
SELECT s.id FROM live_meters m JOIN charging_sessions s USING (steve_transaction_id)
WHERE m.billed_revision < m.revision
LIMIT :limit
""")

_HELD = text("""
SELECT session_id FROM session_billing
WHERE status = 'held' AND checked_at < CAST(:before AS timestamptz) ORDER BY checked_at LIMIT :limit
""")

_LOCK = text(f"""
SELECT {", ".join(DueSession._fields)} FROM charging_sessions
WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - our own names

_DECIDED = text("""
SELECT session_id, billed_wh, slice_count FROM session_billing WHERE session_id = ANY(CAST(:ids AS bigint[]))
""")

_ZONES = text("""
SELECT external_id, timezone FROM lago_customers
WHERE external_id = ANY(CAST(:customers AS text[])) AND deleted_at IS NULL
""")

# In the order in which they were cut; the ids keep it. Two statements: PostgreSQL does not know how long an array
# parameter is and would join the new slices with their texts row by row.
_APPEND_SLICES = text("""
INSERT INTO energy_slices (session_id, slice_index, layer, from_wh, to_wh, started_at, ended_at, final,
    subscription_external_id, late)
SELECT * FROM unnest(
    CAST(:sessions AS bigint[]), CAST(:indexes AS int[]), CAST(:layers AS int[]), CAST(:from_whs AS bigint[]),
    CAST(:to_whs AS bigint[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]),
    CAST(:finals AS boolean[]), CAST(:subscriptions AS text[]), CAST(:lates AS boolean[]))
RETURNING id, session_id, slice_index
""")

_APPEND_EVENTS = text("""
INSERT INTO lago_events (slice_id, transaction_id, body)
SELECT * FROM unnest(CAST(:slices AS bigint[]), CAST(:transactions AS text[]), CAST(:bodies AS text[]))
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


@dataclass(frozen=True)
class NewDecision:
    """What is decided about a session now."""

    session: DueSession
    status: BillingStatus
    reason: str | None
    subscription: str | None
    billed_wh: int
    slice_count: int


@dataclass(frozen=True)
class NewSlice:
    """One slice to be written, with its event."""

    session_id: int
    index: int
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
        return list((await self._uow.execute(_DUE, {"limit": limit})).scalars())

    async def moment(self, *, seconds_ago: float) -> datetime:
        """A time in the past, by the database's clock."""
        query = text("SELECT now() - make_interval(secs => :seconds)")
        moment: datetime = (await self._uow.execute(query, {"seconds": seconds_ago})).scalar_one()
        return moment

    async def held_ids(self, *, before: datetime, limit: int) -> list[int]:
        """Held sessions that have not been looked at since ``before``."""
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
        """Write slices and their events."""
        if not slices:
            return
        rows = await self._uow.execute(
            _APPEND_SLICES,
            {
                "sessions": [new.session_id for new in slices],
                "indexes": [new.index for new in slices],
                "layers": [new.layer for new in slices],
                "from_whs": [new.cut.from_wh for new in slices],
                "to_whs": [new.cut.to_wh for new in slices],
                "starts": [new.cut.started_at for new in slices],
                "ends": [new.cut.ended_at for new in slices],
                "finals": [new.cut.final for new in slices],
                "subscriptions": [new.subscription for new in slices],
                "lates": [new.late for new in slices],
            },
        )
        ids = {(row.session_id, row.slice_index): row.id for row in rows}
        await self._uow.execute(
            _APPEND_EVENTS,
            {
                "slices": [ids[new.session_id, new.index] for new in slices],
                "transactions": [new.transaction_id for new in slices],
                "bodies": [new.event for new in slices],
            },
        )

    async def record(self, decisions: Sequence[NewDecision]) -> None:
        """Store what was decided about each session, replacing what was decided before."""
        if decisions:
            await self._uow.execute(
                _RECORD,
                {
                    "sessions": [new.session.id for new in decisions],
                    "statuses": [new.status.value for new in decisions],
                    "reasons": [new.reason for new in decisions],
                    "mappings": [new.session.tag_mapping_id for new in decisions],
                    "subscriptions": [new.subscription for new in decisions],
                    "billed": [new.billed_wh for new in decisions],
                    "counts": [new.slice_count for new in decisions],
                },
            )
