"""What a list of sessions needs to know, in one query, of the sessions that the caller may read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Select, func, select

from polaris_common.charging.sessions import ChargingSessionRepository
from polaris_common.db import UnitOfWork
from polaris_common.db.pages import Page, Paging, on_page, total_of
from polaris_common.identity.principals import Principal
from polaris_common.models import (
    ChargingSession,
    EnergySlice,
    LagoEvent,
    LagoEventStatus,
    LiveMeter,
    SessionBilling,
    SessionState,
    TagMapping,
)


class SessionStatus(StrEnum):
    """What a driver is told about a session."""

    ACTIVE = "active"
    COMPLETED = "completed"
    UNDER_REVIEW = "under_review"
    """Not believable as it stands; an operator looks at it before anything is billed."""


STATES_OF = {
    SessionStatus.ACTIVE: (SessionState.OPEN,),
    SessionStatus.COMPLETED: (SessionState.STOPPED, SessionState.SETTLED),
    SessionStatus.UNDER_REVIEW: (SessionState.QUARANTINED,),
}


@dataclass(frozen=True)
class Filter:
    """Which sessions: started from ``since`` and before ``until``, and in ``status``."""

    since: datetime | None = None
    until: datetime | None = None
    status: SessionStatus | None = None


@dataclass(frozen=True)
class SessionRow:
    """A session with what billing and the live meter say about it."""

    session: ChargingSession
    billing: SessionBilling | None
    meter: LiveMeter | None
    delivered_wh: int
    mapping_name: str | None


@dataclass(frozen=True)
class SliceRow:
    """A slice with its Lago event."""

    slice: EnergySlice
    lago_transaction_id: str | None
    lago_status: str | None


class SessionViewRepository:
    """Every read of sessions for screens; each starts from what the principal may read."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow
        self._sessions = ChargingSessionRepository(uow)

    async def page(self, principal: Principal, wanted: Filter, paging: Paging) -> Page[SessionRow]:
        """One page, newest start first."""
        query = _filtered(self._sessions.readable_by(principal), wanted)
        total = await total_of(self._uow, query)
        return Page(await self._rows(on_page(query, ChargingSession, paging)), total, paging)

    async def get(self, principal: Principal, session_id: int) -> SessionRow | None:
        """One session, or None when it does not exist for ``principal``."""
        query = self._sessions.readable_by(principal).where(ChargingSession.id == session_id)
        return next(iter(await self._rows(query)), None)

    async def slices(self, row: SessionRow) -> Sequence[SliceRow]:
        """The slices of a session that was read before, in the order of its register."""
        query = (
            select(EnergySlice, LagoEvent.transaction_id, LagoEvent.status)
            .outerjoin(LagoEvent, LagoEvent.slice_id == EnergySlice.id)
            .where(EnergySlice.session_id == row.session.id)
            .order_by(EnergySlice.from_wh)
        )
        found = (await self._uow.execute(query)).all()
        return [SliceRow(found_row.EnergySlice, found_row.transaction_id, found_row.status) for found_row in found]

    async def _rows(self, query: Select[ChargingSession]) -> Sequence[SessionRow]:
        delivered = (
            select(func.coalesce(func.sum(EnergySlice.to_wh - EnergySlice.from_wh), 0))
            .join(LagoEvent, LagoEvent.slice_id == EnergySlice.id)
            .where(EnergySlice.session_id == ChargingSession.id, LagoEvent.status == LagoEventStatus.DELIVERED)
            .correlate(ChargingSession)
            .scalar_subquery()
        )
        joined = (
            query.outerjoin(SessionBilling, SessionBilling.session_id == ChargingSession.id)
            .outerjoin(LiveMeter, LiveMeter.steve_transaction_id == ChargingSession.steve_transaction_id)
            .outerjoin(TagMapping, TagMapping.id == ChargingSession.tag_mapping_id)
            .add_columns(SessionBilling, LiveMeter, delivered.label("delivered_wh"), TagMapping.display_name)
        )
        return [
            SessionRow(row.ChargingSession, row.SessionBilling, row.LiveMeter, int(row.delivered_wh), row.display_name)
            for row in await self._uow.execute(joined)
        ]


def _filtered(query: Select[ChargingSession], wanted: Filter) -> Select[ChargingSession]:
    if wanted.since is not None:
        query = query.where(ChargingSession.started_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(ChargingSession.started_at < wanted.until)
    if wanted.status is not None:
        query = query.where(ChargingSession.state.in_(STATES_OF[wanted.status]))
    return query
