"""An event of ours as Lago shows it, read back into the slice that it was."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing_bridge.ledger.event_text import unix_text
from polaris_common.lago import wire

_OURS = re.compile(r"steve_tx_(\d+)(?:\.(\d+))?_(\d+)_(\d+)(?:_r(\d+))?", re.ASCII)


@dataclass(frozen=True)
class SoldInLago:
    """One slice of a session's register that Lago has."""

    transaction_id: str
    steve_transaction_id: int
    earlier_charges: int
    layer: int
    from_wh: int
    to_wh: int
    started_at: datetime
    ended_at: datetime
    final: bool
    late: bool
    subscription: str
    body: str
    """The event's JSON, as it would be sent again."""

    @property
    def sold_wh(self) -> int:
        """The energy it sells; negative when it takes energy back."""
        return (self.from_wh - self.to_wh) if self.layer % 2 else (self.to_wh - self.from_wh)

    def slice_columns(self) -> dict[str, object]:
        """The columns of ``energy_slices``."""
        names = ("layer", "from_wh", "to_wh", "started_at", "ended_at", "final", "late", "subscription")
        return {name: getattr(self, name) for name in names}


def read_back(raw: Mapping[str, Any]) -> SoldInLago | None:
    """The slice behind Lago's event; None for what is no event of ours."""
    transaction_id, subscription = wire.text(raw, "transaction_id"), wire.text(raw, "external_subscription_id")
    stamp, properties = wire.moment(raw, "timestamp"), wire.nested(raw, "properties")
    named = _OURS.fullmatch(transaction_id or "")
    started_at, ended_at = wire.moment(properties, "start_timestamp"), wire.moment(properties, "stop_timestamp")
    if named is None or transaction_id is None or subscription is None or stamp is None:
        return None
    session, charge, from_wh, to_wh, layer = (int(part or 0) for part in named.groups())
    body = {
        "transaction_id": transaction_id,
        "external_subscription_id": subscription,
        "code": wire.text(raw, "code"),
        "timestamp": unix_text(stamp),
        "properties": properties,
    }
    return SoldInLago(
        transaction_id=transaction_id,
        steve_transaction_id=session,
        earlier_charges=max(charge - 1, 0),
        layer=layer,
        from_wh=from_wh,
        to_wh=to_wh,
        started_at=started_at or stamp,
        ended_at=ended_at or stamp,
        final=properties.get("final") == "true",
        late=properties.get("late") == "true",
        subscription=subscription,
        body=json.dumps(body, separators=(",", ":"), ensure_ascii=False),
    )
