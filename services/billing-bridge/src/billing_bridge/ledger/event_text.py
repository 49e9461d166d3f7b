"""The Lago event of a slice, as text: computed once, stored, sent byte for byte (lago.md §1.1, §7.3)."""

import json
from datetime import datetime

from billing_bridge.ledger.session_books import DueSession
from polaris_common.clock import to_wire
from polaris_common.domain.payer import Pays
from polaris_common.domain.slicing import Cut
from polaris_common.energy import kwh_text
from polaris_common.ids import lago_transaction_id

encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
"""The one way in which events are written."""


def event_text(session: DueSession, cut: Cut, pays: Pays, *, index: int, layer: int, metric_code: str) -> str:
    """The event's JSON. Every property is a string: Lago compares and parses them as text.

    Energy taken back (odd ``layer``) has a negative value. Late energy says when it was used.
    """
    energy = cut.to_wh - cut.from_wh
    kwh = kwh_text(-energy if layer % 2 else energy)
    event: dict[str, object] = {
        "transaction_id": transaction_id(session, cut, layer=layer),
        "external_subscription_id": pays.subscription_external_id,
        "code": metric_code,
        "timestamp": unix_text(pays.stamp),
        "properties": {
            "value": kwh,
            "kwh": kwh,
            "charger_id": session.charge_box_id,
            "connector_id": str(session.connector_id),
            "session_id": str(session.steve_transaction_id),
            "meter_from_wh": str(cut.from_wh),
            "meter_to_wh": str(cut.to_wh),
            "start_timestamp": to_wire(cut.started_at),
            "stop_timestamp": to_wire(cut.ended_at),
            "slice_index": str(index),
            "final": "true" if cut.final else "false",
            **({"late": "true", "usage_at": unix_text(cut.usage_at)} if pays.late else {}),
            **({"correction": str(layer)} if layer else {}),
        },
    }
    return encode(event)


def transaction_id(session: DueSession, cut: Cut, *, layer: int) -> str:
    """Lago's id of a slice's event."""
    return lago_transaction_id(
        session.steve_transaction_id, cut.from_wh, cut.to_wh, layer, earlier_charges=session.earlier_charges
    )


def unix_text(moment: datetime) -> str:
    """Unix seconds with three decimals, as text: what both of Lago's stores keep exactly."""
    seconds, milliseconds = divmod(round(moment.timestamp() * 1_000), 1_000)
    return f"{seconds}.{milliseconds:03d}"
