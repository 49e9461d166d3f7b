"""Charging sessions on the wire (contract §4.1, §4.2; one row a transaction, its billing slices beneath it)."""

from collections.abc import Sequence
from typing import Self

from gateway.lists import Listed
from gateway.sessions.repository import STATES_OF, SessionRow, SessionStatus, SliceRow
from gateway.wire import Wire, WireTime
from polaris_common.energy import kwh_text
from polaris_common.models import LagoEventStatus, SessionState

_STATUS_OF = {state.value: status for status, states in STATES_OF.items() for state in states}

NOT_LOOKED_AT = "pending"
"""Billing has not decided about the session yet."""


class SessionBillingRead(Wire):
    """What has become of a session's energy: ``billed_wh`` is in the ledger, ``delivered_wh`` of it is with Lago."""

    status: str
    reason: str | None = None
    billed_wh: int
    delivered_wh: int

    @classmethod
    def of(cls, row: SessionRow) -> Self:
        """Billing's decision, or that it has not looked yet."""
        if row.billing is None:
            return cls(status=NOT_LOOKED_AT, billed_wh=0, delivered_wh=0)
        return cls(
            status=row.billing.status,
            reason=row.billing.reason,
            billed_wh=row.billing.billed_wh,
            delivered_wh=row.delivered_wh,
        )


class SessionRead(Wire):
    """One charging session. Energy is null where the registers do not tell it."""

    id: int
    steve_transaction_id: int
    user_mapping_id: int | None
    mapping_display_name: str | None
    ocpp_tag: str
    charge_box_id: str
    connector_id: int
    started_at: WireTime
    stopped_at: WireTime | None
    status: SessionStatus
    is_final: bool
    """SteVe's stop value stands and cannot change any more."""
    meter_value_from: int | None
    meter_value_to: int | None
    """The register at the stop; while it charges, the latest one. Wh."""
    energy_wh: int | None
    kwh_delta: str | None
    power_w: int | None
    """While it charges."""
    billing: SessionBillingRead
    slices: int

    @classmethod
    def of(cls, row: SessionRow) -> Self:
        """One row as its driver sees it."""
        session, status = row.session, _STATUS_OF[row.session.state]
        live = row.meter if status is SessionStatus.ACTIVE else None
        register = _register(row, status)
        energy = None if status is SessionStatus.UNDER_REVIEW else _difference(session.start_wh, register)
        return cls(
            id=session.id,
            steve_transaction_id=session.former_transaction_id or session.steve_transaction_id,
            user_mapping_id=session.tag_mapping_id,
            mapping_display_name=row.mapping_name,
            ocpp_tag=session.id_tag,
            charge_box_id=session.charge_box_id,
            connector_id=session.connector_id,
            started_at=session.started_at,
            stopped_at=session.stopped_at,
            status=status,
            is_final=session.state == SessionState.SETTLED,
            meter_value_from=session.start_wh,
            meter_value_to=register,
            energy_wh=energy,
            kwh_delta=None if energy is None else kwh_text(energy),
            power_w=live.power_w if live else None,
            billing=SessionBillingRead.of(row),
            slices=row.billing.slice_count if row.billing else 0,
        )


class SessionList(Listed[SessionRead]):
    """One page of sessions."""


class SliceRead(Wire):
    """One slice of a session's energy, as it goes to Lago."""

    from_wh: int
    to_wh: int
    kwh: str
    started_at: WireTime
    ended_at: WireTime
    final: bool
    lago_event_transaction_id: str | None
    delivered: bool

    @classmethod
    def of(cls, row: SliceRow) -> Self:
        """One slice and whether Lago has it."""
        part = row.slice
        return cls(
            from_wh=part.from_wh,
            to_wh=part.to_wh,
            kwh=kwh_text(part.to_wh - part.from_wh),
            started_at=part.started_at,
            ended_at=part.ended_at,
            final=part.final,
            lago_event_transaction_id=row.lago_transaction_id,
            delivered=row.lago_status == LagoEventStatus.DELIVERED,
        )


class SessionDetail(Wire):
    """One session and its slices."""

    session: SessionRead
    meter_timeline: list[SliceRead]

    @classmethod
    def of(cls, row: SessionRow, slices: Sequence[SliceRow]) -> Self:
        """A session with everything that was billed of it."""
        return cls(session=SessionRead.of(row), meter_timeline=[SliceRead.of(part) for part in slices])


def _register(row: SessionRow, status: SessionStatus) -> int | None:
    if status is not SessionStatus.ACTIVE:
        return row.session.stop_wh
    measured = row.meter.register_wh if row.meter else None
    return row.session.start_wh if measured is None else measured


def _difference(start: int | None, register: int | None) -> int | None:
    return register - start if start is not None and register is not None and register >= start else None
