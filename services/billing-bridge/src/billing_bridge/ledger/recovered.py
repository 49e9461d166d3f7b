"""Events that only Lago remembered after a restore: kept by ``recovery``, made slices again by the ledger."""

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime

from sqlalchemy import text

from billing_bridge.ledger.repository import Decided, NewSlice
from polaris_common.db import UnitOfWork
from polaris_common.domain.slicing import Cut

_LOOK_AGAIN = text("""
UPDATE charging_sessions SET revision = revision + 1 WHERE steve_transaction_id = ANY(CAST(:ids AS bigint[]))
""")

_TAKE = text("""
UPDATE recovered_events AS r SET session_id = s.id FROM charging_sessions AS s
WHERE s.id = ANY(CAST(:ids AS bigint[])) AND r.session_id IS NULL
  AND r.steve_transaction_id = s.steve_transaction_id AND r.charge_box_id = s.charge_box_id
  AND r.connector_id = s.connector_id AND r.started_at >= s.started_at - interval '1 minute'
  AND r.earlier_charges = (
      SELECT count(*) FROM charging_sessions f WHERE f.former_transaction_id = s.steve_transaction_id)
RETURNING s.id AS taken_by, r.*
""")


@dataclass(frozen=True)
class RecoveredEvent:
    """An event of ours as Lago has it, with the slice that it was made from."""

    transaction_id: str
    steve_transaction_id: int
    earlier_charges: int
    """How many charges SteVe had under the same transaction id before."""
    charge_box_id: str
    connector_id: int
    slice_index: int
    layer: int
    from_wh: int
    to_wh: int
    started_at: datetime
    ended_at: datetime
    final: bool
    late: bool
    subscription_external_id: str
    body: str

    def as_slice(self, session_id: int, index: int) -> NewSlice:
        """The slice, for a session's ledger."""
        return NewSlice(
            session_id=session_id,
            slice_index=index,
            layer=self.layer,
            cut=Cut(self.from_wh, self.to_wh, self.started_at, self.ended_at, final=self.final),
            subscription=self.subscription_external_id,
            late=self.late,
            transaction_id=self.transaction_id,
            event=self.body,
        )


_COLUMNS = tuple(column.name for column in fields(RecoveredEvent))


class RecoveredEvents:
    """What Lago remembered, within one unit of work."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def keep(self, events: Sequence[RecoveredEvent]) -> None:
        """Keep events until billing looks at their sessions, which it does next."""
        await self._uow.copy("recovered_events", _COLUMNS, [astuple(event) for event in events])
        await self._uow.execute(_LOOK_AGAIN, {"ids": sorted({event.steve_transaction_id for event in events})})

    async def take(self, session_ids: Collection[int]) -> dict[int, list[RecoveredEvent]]:
        """Hand over what was kept for these sessions, once: energy first that is sold, then what was taken back of it.

        The charger, the connector and the time must be the session's: another SteVe may count the same ids.
        """
        taken: dict[int, list[RecoveredEvent]] = {}
        for row in (await self._uow.execute(_TAKE, {"ids": list(session_ids)})).mappings():
            event = RecoveredEvent(**{name: row[name] for name in _COLUMNS})
            taken.setdefault(row["taken_by"], []).append(event)
        for events in taken.values():
            events.sort(key=lambda event: (event.layer, event.slice_index))
        return taken


def slices_of(session_id: int, events: Sequence[RecoveredEvent], before: Decided) -> tuple[list[NewSlice], Decided]:
    """The slices that a session's recovered events become on top of what was decided, and what is decided then."""
    slices = [event.as_slice(session_id, index) for index, event in enumerate(events, start=before.slice_count)]
    sold_wh = before.billed_wh + sum(new.sold_wh for new in slices)
    return slices, Decided(sold_wh, before.slice_count + len(slices))
