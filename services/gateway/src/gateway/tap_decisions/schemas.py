"""Decisions on taps, on the wire."""

from typing import Self

from gateway.lists import Leaf
from gateway.ocpp.service import Override
from gateway.wire import Wire, WireTime
from polaris_common.domain.tap_decision import TapReason
from polaris_common.models import TapDecision


class TapDecisionRead(Wire):
    """What SteVe was told about one tap. ``id_tag_hash`` is keyed: equal tags have equal hashes, nothing more."""

    id: int
    decided_at: WireTime
    charge_box_id: str
    connector_id: int | None
    is_start: bool
    id_tag_hash: str
    tag_mapping_id: int | None
    override: Override | None
    reason: TapReason
    latency_ms: float

    @classmethod
    def of(cls, row: TapDecision) -> Self:
        """One row."""
        return cls(
            id=row.id,
            decided_at=row.decided_at,
            charge_box_id=row.charge_box_id,
            connector_id=row.connector_id,
            is_start=row.is_start,
            id_tag_hash=row.id_tag_hash.hex(),
            tag_mapping_id=row.tag_mapping_id,
            override=Override.BLOCKED if row.blocked else None,
            reason=TapReason(row.reason),
            latency_ms=row.latency_us / 1000,
        )


class TapDecisionPage(Leaf[TapDecisionRead]):
    """Some of the decisions, newest first; ``next_cursor`` leads to what is older, null at the end."""
