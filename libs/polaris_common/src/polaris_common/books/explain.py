"""Why a session was billed as it was: readings, slices, events, answers and reasons in one structure."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text

from polaris_common.clock import to_wire
from polaris_common.db import UnitOfWork
from polaris_common.energy import kwh_text

_SESSION = text("""
SELECT s.id, s.steve_transaction_id, s.former_transaction_id, s.charge_box_id, s.connector_id, s.id_tag,
       s.started_at, s.start_wh, s.stopped_at,
       s.stop_wh, s.stop_reason, s.stop_actor, s.state, s.quarantine_reason, s.settle_after, s.vanished_at,
       s.user_id, s.tag_mapping_id, m.display_name AS mapping, m.is_active AS mapping_active,
       m.lago_customer_external_id AS customer
FROM charging_sessions s LEFT JOIN tag_mappings m ON m.id = s.tag_mapping_id
WHERE s.id = :id
""")

_DECISION = text("""
SELECT status, reason, subscription_external_id AS subscription, billed_wh, slice_count, checked_at
FROM session_billing WHERE session_id = :id
""")

_READINGS = text("""
SELECT r.sampled_at, r.register_wh, r.value, r.unit, r.context, r.received_at
FROM meter_readings r JOIN charging_sessions s USING (steve_transaction_id)
WHERE s.id = :id AND r.register_wh IS NOT NULL ORDER BY r.sampled_at, r.register_wh
""")

_SLICES = text("""
SELECT a.slice_index, a.layer, a.from_wh, a.to_wh, a.started_at, a.ended_at, a.final, a.late,
       a.subscription_external_id AS subscription, a.created_at AS cut_at, e.transaction_id AS lago_transaction_id,
       e.status AS delivery, e.attempts, e.delivered_at, e.last_error, e.body::json AS event
FROM energy_slices a LEFT JOIN lago_events e ON e.slice_id = a.id
WHERE a.session_id = :id ORDER BY a.slice_index
""")

_EVENTS = text("""
SELECT seq, type, created_at, payload FROM domain_events
WHERE payload @> jsonb_build_object('sessionId', CAST(:id AS bigint)) ORDER BY created_at, seq
""")


async def explain_session(uow: UnitOfWork, session_id: int) -> dict[str, Any] | None:
    """Everything behind one session's bill as a JSON object; None when there is no such session.

    Shape: ``{session, decision, energy: {meteredWh, soldWh, deliveredWh}, readings, slices, events}``.
    """
    values = {"id": session_id}
    session = (await uow.execute(_SESSION, values)).mappings().one_or_none()
    if session is None:
        return None
    decision = (await uow.execute(_DECISION, values)).mappings().one_or_none()
    slices = (await uow.execute(_SLICES, values)).mappings().all()
    metered = None
    if session["stop_wh"] is not None and session["start_wh"] is not None:
        metered = session["stop_wh"] - session["start_wh"]
    return {
        "session": _plain(session),
        "decision": None if decision is None else _plain(decision),
        "energy": {
            "meteredWh": metered,
            "soldWh": sum(_signed(piece) for piece in slices),
            "deliveredWh": sum(_signed(piece) for piece in slices if piece["delivery"] == "delivered"),
        },
        "readings": [_plain(row) for row in (await uow.execute(_READINGS, values)).mappings()],
        "slices": [{**_plain(piece), "kwh": kwh_text(_signed(piece))} for piece in slices],
        "events": [_plain(row) for row in (await uow.execute(_EVENTS, values)).mappings()],
    }


def _signed(piece: Any) -> int:
    energy: int = piece["to_wh"] - piece["from_wh"]
    return -energy if piece["layer"] % 2 else energy


def _plain(row: Any) -> dict[str, Any]:
    return {_camel(name): _value(value) for name, value in row.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _value(value: Any) -> Any:
    match value:
        case datetime():
            return to_wire(value)
        case UUID() | Decimal():
            return str(value)
        case _:
            return value
