"""Charging sessions: what SteVe showed becomes rows, changes become events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, insert, select, text, update

from polaris_common.clock import to_wire
from polaris_common.db import Repository
from polaris_common.domain.session_state import Observation, State, Verdict, judge
from polaris_common.domain.tag_owner import MappingValue
from polaris_common.energy import kwh_text
from polaris_common.events.catalogue import Audience, SessionQuarantined, SessionStarted, SessionStopped
from polaris_common.identity.principals import Driver, Operator, Principal
from polaris_common.models import ChargingSession
from polaris_common.steve.wire import SteveTransaction

MANUAL_STOP_SETTLES_AFTER = timedelta(minutes=15)
"""How long a manual stop waits for the station's own stop, which may carry another value."""


@dataclass
class Applied:
    """What one batch of observations changed."""

    new: int = 0
    changed: int = 0


class ChargingSessionRepository(Repository[ChargingSession]):
    """Every query on charging sessions."""

    model = ChargingSession

    def readable_by(self, principal: Principal) -> Select[ChargingSession]:
        """The sessions that ``principal`` may see, newest start first."""
        query = select(ChargingSession).order_by(ChargingSession.started_at.desc(), ChargingSession.id.desc())
        match principal:
            case Operator():
                return query
            case Driver(user_id=user_id):
                return query.where(ChargingSession.user_id == user_id)

    async def unsettled_ids(self) -> set[int]:
        """The SteVe ids of sessions that may still change."""
        query = select(ChargingSession.steve_transaction_id).where(
            ChargingSession.state.in_([State.OPEN, State.STOPPED])
        )
        return set((await self.uow.session.execute(query)).scalars())

    async def highest_transaction_id(self) -> int:
        """The highest SteVe id we know; 0 when we know none."""
        return await self.uow.session.scalar(select(func.max(ChargingSession.steve_transaction_id))) or 0

    async def apply(self, seen: Sequence[SteveTransaction], owners: Mapping[str, MappingValue | None]) -> Applied:
        """Bring our rows to what SteVe shows; emit an event for each change that people care about.

        ``owners``: by lower-case idTag. A settled session changes only when SteVe's values do and never goes back.
        """
        known = await self._lock(transaction.id for transaction in seen)
        applied, now = Applied(), (await self.uow.execute(select(func.now()))).scalar_one()
        fresh: list[dict[str, Any]] = []
        for transaction in seen:
            owner = owners.get(transaction.id_tag.lower())
            row = known.get(transaction.id)
            if row is None:
                fresh.append(_new_row(transaction, judge(_observed(transaction), settled_by_time=False), owner, now))
                continue
            settled_by_time = row.settle_after is not None and row.settle_after <= now
            verdict = judge(_observed(transaction), settled_by_time=settled_by_time)
            if await self._change(row, transaction, verdict, owner, now):
                applied.changed += 1
        applied.new = await self._insert(fresh)
        return applied

    async def known_ids(self, first: int, last: int) -> set[int]:
        """Which SteVe ids from ``first`` to ``last`` we have."""
        query = select(ChargingSession.steve_transaction_id).where(
            ChargingSession.steve_transaction_id.between(first, last)
        )
        return set((await self.uow.session.execute(query)).scalars())

    async def ownerless_id_tags(self) -> list[str]:
        """The idTags of sessions that nobody answers for yet."""
        query = select(ChargingSession.id_tag).where(ChargingSession.tag_mapping_id.is_(None)).distinct()
        return list((await self.uow.session.execute(query)).scalars())

    async def attach(self, id_tag: str, owner: MappingValue) -> int:
        """Give the ownerless sessions of ``id_tag`` to ``owner`` and make billing look again; the number touched."""
        return await self.uow.write(
            update(ChargingSession)
            .where(ChargingSession.id_tag == id_tag, ChargingSession.tag_mapping_id.is_(None))
            .values(tag_mapping_id=owner.id, user_id=owner.user_id, revision=ChargingSession.revision + 1)
            .execution_options(synchronize_session=False)
        )

    async def mark_billed(self, revisions: Mapping[int, int]) -> None:
        """Billing has looked at these sessions (id → revision)."""
        if revisions:
            await self.uow.execute(
                text(
                    "UPDATE charging_sessions AS s SET billed_revision = v.revision "
                    "FROM unnest(CAST(:ids AS bigint[]), CAST(:revisions AS bigint[])) AS v(id, revision) "
                    "WHERE s.id = v.id AND s.billed_revision < v.revision"
                ),
                {"ids": list(revisions), "revisions": list(revisions.values())},
            )

    async def _lock(self, ids: Iterable[int]) -> dict[int, ChargingSession]:
        query = (
            select(ChargingSession)
            .where(ChargingSession.steve_transaction_id.in_(list(ids)))
            .order_by(ChargingSession.id)
            .with_for_update()
        )
        return {row.steve_transaction_id: row for row in await self.all(query)}

    async def _insert(self, fresh: list[dict[str, Any]]) -> int:
        if not fresh:
            return 0
        result = await self.uow.session.execute(insert(ChargingSession).returning(ChargingSession), fresh)
        rows = list(result.scalars())
        for row in sorted(rows, key=lambda row: row.steve_transaction_id):
            self.uow.emit(_started(row))
            self._emit_end(row)
        return len(rows)

    async def _change(
        self,
        row: ChargingSession,
        transaction: SteveTransaction,
        verdict: Verdict,
        owner: MappingValue | None,
        now: Any,
    ) -> bool:
        values = _values(transaction, verdict)
        if row.state == State.SETTLED and values["state"] != State.SETTLED:
            return False
        if owner is not None and row.tag_mapping_id is None:
            values |= _owner_values(owner)
        if all(getattr(row, name) == value for name, value in values.items()):
            return False
        if verdict.state == State.STOPPED and (row.stopped_at, row.stop_wh) != (values["stopped_at"], verdict.stop_wh):
            values["settle_after"] = now + MANUAL_STOP_SETTLES_AFTER
        was = (row.state, row.stop_wh)
        await self.uow.execute(
            update(ChargingSession)
            .where(ChargingSession.id == row.id)
            .values(**values, revision=ChargingSession.revision + 1, updated_at=func.now())
            .execution_options(synchronize_session=False)
        )
        for name, value in values.items():
            setattr(row, name, value)
        self.uow.session.expunge(row)
        if was != (row.state, row.stop_wh):
            self._emit_end(row)
        return True

    def _emit_end(self, row: ChargingSession) -> None:
        if row.state == State.QUARANTINED:
            self.uow.emit(
                SessionQuarantined(**_common(row, operators_only=True), reason=row.quarantine_reason or "unknown")
            )
        elif row.stopped_at is not None and row.stop_wh is not None and row.start_wh is not None:
            energy = row.stop_wh - row.start_wh
            self.uow.emit(
                SessionStopped(
                    **_common(row),
                    stopped_at=to_wire(row.stopped_at),
                    energy_wh=energy,
                    energy_kwh=kwh_text(energy),
                    stop_reason=row.stop_reason,
                    final=row.state == State.SETTLED,
                )
            )


def _observed(transaction: SteveTransaction) -> Observation:
    return Observation(
        transaction.start_value, transaction.stop_timestamp, transaction.stop_value, transaction.stop_event_actor
    )


def _values(transaction: SteveTransaction, verdict: Verdict) -> dict[str, Any]:
    return {
        "state": verdict.state.value,
        "quarantine_reason": verdict.quarantine_reason,
        "start_wh": verdict.start_wh,
        "stop_wh": verdict.stop_wh,
        "stopped_at": transaction.stop_timestamp,
        "stop_reason": transaction.stop_reason,
        "stop_actor": transaction.stop_event_actor,
    }


def _owner_values(owner: MappingValue | None) -> dict[str, Any]:
    return {"tag_mapping_id": owner.id if owner else None, "user_id": owner.user_id if owner else None}


def _new_row(transaction: SteveTransaction, verdict: Verdict, owner: MappingValue | None, now: Any) -> dict[str, Any]:
    return {
        "steve_transaction_id": transaction.id,
        "charge_box_id": transaction.charge_box_id,
        "connector_id": transaction.connector_id,
        "id_tag": transaction.id_tag,
        "started_at": transaction.start_timestamp,
        "settle_after": now + MANUAL_STOP_SETTLES_AFTER if verdict.state == State.STOPPED else None,
        **_values(transaction, verdict),
        **_owner_values(owner),
    }


def _common(row: ChargingSession, *, operators_only: bool = False) -> dict[str, Any]:
    user_id: UUID | None = None if operators_only else row.user_id
    return {
        "audience": Audience.operators_and(user_id),
        "session_id": row.id,
        "transaction_id": row.steve_transaction_id,
        "charge_box_id": row.charge_box_id,
        "connector_id": row.connector_id,
        "user_mapping_id": row.tag_mapping_id,
    }


def _started(row: ChargingSession) -> SessionStarted:
    return SessionStarted(**_common(row), started_at=to_wire(row.started_at))
