"""``events.errors``: Lago took these events and will never count them (lago.md §1.1)."""

from typing import Any

import structlog
from sqlalchemy import text

from polaris_common.db import UnitOfWork
from polaris_common.events.catalogue import OperatorNotice
from polaris_common.lago import wire

log = structlog.get_logger(__name__)

_UNCOUNTED = ("invalid_code", "missing_aggregation_property")
_MISPRICED = "invalid_filter_values"
"""Counted, but at the charge's default price."""

_QUARANTINE = text("""
    UPDATE lago_events SET status = 'quarantined', last_error = :reason
    WHERE transaction_id = ANY(CAST(:ids AS text[])) AND status <> 'quarantined'
""")

_FIND = text("""
    INSERT INTO reconciliation_findings (kind, subject, subscription_external_id, session_id, difference_wh)
    SELECT 'dead_in_lago', e.transaction_id, a.subscription_external_id, a.session_id,
           CASE WHEN a.layer % 2 = 0 THEN a.to_wh - a.from_wh ELSE a.from_wh - a.to_wh END
    FROM lago_events e JOIN energy_slices a ON a.id = e.slice_id
    WHERE e.transaction_id = ANY(CAST(:ids AS text[])) ORDER BY e.transaction_id
    ON CONFLICT (kind, subject) WHERE resolved_at IS NULL DO UPDATE SET seen_at = now()
""")


async def bury_events(uow: UnitOfWork, errors: dict[str, Any]) -> None:
    """Quarantine those of our events that Lago will not count, and open a finding for each.

    The lists are of the whole organization; ids that are not ours are nobody's here.
    """
    for reason in _UNCOUNTED:
        ids = sorted(set(wire.texts(errors, reason)))
        if not ids:
            continue
        await uow.execute(_QUARANTINE, {"ids": ids, "reason": f"events.errors: {reason}"})
        found = await uow.write(_FIND, {"ids": ids})
        if found:
            log.error("lago_will_not_count", reason=reason, events=found)
            _tell(uow, reason)
    if wire.texts(errors, _MISPRICED):
        _tell(uow, _MISPRICED)


def _tell(uow: UnitOfWork, reason: str) -> None:
    uow.emit(OperatorNotice(kind="lago_event_errors", severity="error", source_type="system", detail=reason))
