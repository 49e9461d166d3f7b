"""Our own events as Lago shows them, read back into what they were made from."""

import re
from collections.abc import Mapping
from typing import Any

from billing_bridge.ledger.event_text import encode, unix_text
from billing_bridge.ledger.recovered import RecoveredEvent
from polaris_common.lago import wire

_TRANSACTION_ID = re.compile(r"steve_tx_(\d{1,18})(?:\.(\d{1,9}))?_(\d{1,18})_(\d{1,18})(?:_r(\d{1,9}))?", re.ASCII)


def recovered_event(raw: Mapping[str, Any]) -> RecoveredEvent | None:
    """One event of Lago's list; None when it is not one of ours."""
    transaction_id, at = wire.text(raw, "transaction_id"), wire.moment(raw, "timestamp")
    named = _TRANSACTION_ID.fullmatch(transaction_id or "")
    subscription, code = wire.text(raw, "external_subscription_id"), wire.text(raw, "code")
    properties = wire.nested(raw, "properties")
    charger, connector = wire.text(properties, "charger_id"), wire.whole(properties, "connector_id")
    index = wire.whole(properties, "slice_index")
    started, ended = wire.moment(properties, "start_timestamp"), wire.moment(properties, "stop_timestamp")
    if transaction_id is None or at is None or named is None or subscription is None or charger is None:
        return None
    if connector is None or index is None or started is None or ended is None:
        return None
    steve_transaction_id, charge, from_wh, to_wh, layer = (int(number or 0) for number in named.groups())
    if from_wh >= to_wh:
        return None
    event = {
        "transaction_id": transaction_id,
        "external_subscription_id": subscription,
        "code": code,
        "timestamp": unix_text(at),
        "properties": wire.storable(properties),
    }
    return RecoveredEvent(
        transaction_id=transaction_id,
        steve_transaction_id=steve_transaction_id,
        earlier_charges=max(charge - 1, 0),
        charge_box_id=charger,
        connector_id=connector,
        slice_index=index,
        layer=layer,
        from_wh=from_wh,
        to_wh=to_wh,
        started_at=started,
        ended_at=ended,
        final=properties.get("final") == "true",
        late=properties.get("late") == "true",
        subscription_external_id=subscription,
        body=encode(event),
    )
