"""The reservations about which something may be to do, with what decides it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from polaris_common.charging.reservations import BLACKOUT_TAG_PK
from polaris_common.db import UnitOfWork
from polaris_common.domain.operation_outcome import Outcome, read_task
from polaris_common.domain.reservation_upkeep import Answer, Booked, Session

# A session belongs to a reservation by tag or by driver, from when the charger may have begun to hold it until its end.
_DUE = text("""
SELECT r.id, r.charge_box_id, r.connector_id, r.id_tag, r.ocpp_tag_pk, r.status, r.hold, r.start_at, r.end_at,
    r.held_until, r.steve_reservation_id, r.attempts, r.next_attempt_at, r.reason, r.session_id, r.operation_id,
    o.outcome, o.result, o.id IS NULL OR o.outcome IS NOT NULL AS answered, now() AS now,
    coalesce(mine.id, found.id) AS used_by,
    lower(coalesce(mine.id_tag, found.id_tag)) = lower(r.id_tag) AS same_tag,
    coalesce(mine.state, found.state) <> 'open' AS ended
FROM reservations AS r
LEFT JOIN charger_operation_log AS o ON o.id = r.operation_id
LEFT JOIN charging_sessions AS mine ON mine.id = r.session_id
LEFT JOIN LATERAL (
    SELECT s.id, s.id_tag, s.state FROM charging_sessions AS s
    WHERE s.charge_box_id = r.charge_box_id AND (r.connector_id = 0 OR s.connector_id = r.connector_id)
      AND s.started_at >= r.start_at - CAST(:lead AS interval) AND s.started_at < r.end_at
      AND (lower(s.id_tag) = lower(r.id_tag) OR s.user_id = r.user_id)
    ORDER BY lower(s.id_tag) = lower(r.id_tag) DESC, s.started_at LIMIT 1
) AS found ON r.session_id IS NULL AND r.status IN ('pending', 'confirmed')
WHERE r.id > :after AND (
    (r.status IN ('pending', 'confirmed', 'active') AND r.start_at <= now() + CAST(:lead AS interval))
    OR r.hold IN ('asking', 'held', 'unknown', 'releasing'))
ORDER BY r.id LIMIT :limit
FOR UPDATE OF r SKIP LOCKED
""")


@dataclass(frozen=True)
class Due:
    """One reservation as it stands, locked."""

    id: int
    charge_box_id: str
    connector_id: int
    id_tag: str
    operation_id: int | None
    now: datetime
    """The database's time."""
    booked: Booked
    answer: Answer | None
    session: Session | None


async def due_reservations(uow: UnitOfWork, *, lead: timedelta, after: int, limit: int) -> list[Due]:
    """The next ones by id, without those that another worker holds."""
    rows = await uow.execute(_DUE, {"lead": lead, "after": after, "limit": limit})
    return [_due(row) for row in rows.all()]


def _due(row: Any) -> Due:
    return Due(
        id=row.id,
        charge_box_id=row.charge_box_id,
        connector_id=row.connector_id,
        id_tag=row.id_tag,
        operation_id=row.operation_id,
        now=row.now,
        booked=Booked(
            status=row.status,
            hold=row.hold,
            start_at=row.start_at,
            end_at=row.end_at,
            blackout=row.ocpp_tag_pk == BLACKOUT_TAG_PK,
            held_until=row.held_until,
            reservation_id=row.steve_reservation_id,
            attempts=row.attempts,
            next_attempt_at=row.next_attempt_at,
            reason=row.reason,
            session_id=row.session_id,
        ),
        answer=_answer(row.charge_box_id, row.outcome, row.result) if row.answered else None,
        session=None if row.used_by is None else Session(row.used_by, row.same_tag, row.ended),
    )


def _answer(charge_box_id: str, outcome: str | None, result: Mapping[str, Any] | None) -> Answer:
    """A request whose log row is gone can no longer be judged."""
    if outcome is None:
        return Answer(Outcome.UNKNOWN)
    said = read_task(dict(result or {}), charge_box_id)
    return Answer(Outcome(outcome), said.status, said.reservation_id)
