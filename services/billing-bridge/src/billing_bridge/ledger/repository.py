"""Every query on the ledger: what is due, what is known, what is written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from polaris_common.db import UnitOfWork
from polaris_common.domain.corrections import Layered
from polaris_common.domain.payer import SubscriptionValue
from polaris_common.domain.slicing import Cut
from polaris_common.models import (
    BillingStatus,
    ChargingSession,
    ComponentHealth,
    EnergySlice,
    LagoCustomer,
    LagoEvent,
    SessionBilling,
)
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

_SLICES = text("""
SELECT session_id, layer, from_wh, to_wh, started_at, ended_at, subscription_external_id FROM energy_slices
WHERE session_id = ANY(CAST(:ids AS bigint[])) ORDER BY session_id, slice_index
""")

_SUBSCRIPTIONS = text("""
SELECT s.external_id, s.external_customer_id, s.status, s.started_at, s.period_started_at, s.period_ending_at,
       s.mirrored_at,
       (SELECT :metric = ANY(p.metric_codes) FROM lago_plans p
        WHERE p.code = s.plan_code ORDER BY p.deleted_at NULLS FIRST LIMIT 1) AS charges_energy
FROM lago_subscriptions s
WHERE s.deleted_at IS NULL AND (s.external_customer_id = ANY(CAST(:customers AS text[]))
                                OR s.external_id = ANY(CAST(:named AS text[])))
""")


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

    async def lock_sessions(self, ids: Iterable[int]) -> list[ChargingSession]:
        """The sessions, locked; those that somebody else holds are left to them."""
        query = (
            select(ChargingSession)
            .where(ChargingSession.id.in_(list(ids)))
            .order_by(ChargingSession.id)
            .with_for_update(skip_locked=True)
        )
        return list((await self._uow.session.execute(query)).scalars())

    async def billing_of(self, ids: Sequence[int]) -> dict[int, SessionBilling]:
        """What was decided so far."""
        query = select(SessionBilling).where(SessionBilling.session_id.in_(ids))
        return {row.session_id: row for row in (await self._uow.session.execute(query)).scalars()}

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
        query = select(LagoCustomer.external_id, LagoCustomer.timezone).where(
            LagoCustomer.external_id.in_(list(customers)), LagoCustomer.deleted_at.is_(None)
        )
        return {row.external_id: row.timezone for row in await self._uow.execute(query)}

    async def lago_mirrored(self) -> bool:
        """Whether the subscriptions have been read completely at least once."""
        query = select(ComponentHealth.last_success_at).where(ComponentHealth.component == Component.LAGO_MIRROR)
        return await self._uow.session.scalar(query) is not None

    async def append(self, slices: Sequence[NewSlice]) -> None:
        """Write slices and their events."""
        if not slices:
            return
        result = await self._uow.session.execute(
            insert(EnergySlice).returning(EnergySlice.id, sort_by_parameter_order=True),
            [
                {
                    "session_id": new.session_id,
                    "slice_index": new.index,
                    "layer": new.layer,
                    "from_wh": new.cut.from_wh,
                    "to_wh": new.cut.to_wh,
                    "started_at": new.cut.started_at,
                    "ended_at": new.cut.ended_at,
                    "final": new.cut.final,
                    "subscription_external_id": new.subscription,
                    "late": new.late,
                }
                for new in slices
            ],
        )
        await self._uow.execute(
            insert(LagoEvent),
            [
                {"slice_id": slice_id, "transaction_id": new.transaction_id, "body": new.event}
                for slice_id, new in zip(result.scalars(), slices, strict=True)
            ],
        )

    async def record(self, decisions: Sequence[dict[str, Any]]) -> None:
        """Store what was decided about each session, replacing what was decided before."""
        if not decisions:
            return
        statement = upsert(SessionBilling).values([{**values, "checked_at": func.now()} for values in decisions])
        changes = {name: statement.excluded[name] for name in (*decisions[0], "checked_at") if name != "session_id"}
        await self._uow.execute(statement.on_conflict_do_update(index_elements=["session_id"], set_=changes))


def decision_row(
    session: ChargingSession,
    status: BillingStatus,
    *,
    reason: str | None = None,
    subscription: str | None = None,
    billed_wh: int = 0,
    slice_count: int = 0,
) -> dict[str, Any]:
    """One row of ``session_billing``."""
    return {
        "session_id": session.id,
        "status": status.value,
        "reason": reason,
        "tag_mapping_id": session.tag_mapping_id,
        "subscription_external_id": subscription,
        "billed_wh": billed_wh,
        "slice_count": slice_count,
    }
