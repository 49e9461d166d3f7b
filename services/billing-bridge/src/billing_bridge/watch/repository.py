"""What waits for Lago although its billing period closes, and what operators have been told."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from billing_bridge.sender.repository import OPEN_SINCE
from polaris_common.db import UnitOfWork

# What is due later than any claim lasts is backing off. What a sender holds right now is looked at again next time.
_HURRY = text("""
UPDATE lago_events SET urgent = true,
    next_attempt_at = CASE WHEN next_attempt_at > now() + make_interval(secs => :lease)
                           THEN now() ELSE next_attempt_at END
WHERE id IN (
    SELECT e.id FROM lago_events e
    JOIN energy_slices a ON a.id = e.slice_id
    JOIN lago_subscriptions s ON s.external_id = a.subscription_external_id
    WHERE e.status = 'pending' AND NOT e.urgent AND s.status = 'active' AND s.deleted_at IS NULL
      AND s.period_ending_at BETWEEN now() AND now() + CAST(:margin AS interval)
    ORDER BY e.id FOR UPDATE OF e SKIP LOCKED)
""")

# A subscription that has ended has had its last invoice.
_MISSED = text(f"""
SELECT a.subscription_external_id AS subscription, count(*) AS events
FROM lago_events e
JOIN energy_slices a ON a.id = e.slice_id
LEFT JOIN lago_subscriptions s
    ON s.external_id = a.subscription_external_id AND s.status = 'active' AND s.deleted_at IS NULL
WHERE e.status = 'pending'
  AND (s.lago_id IS NULL OR (e.body::json->>'timestamp')::numeric < extract(epoch FROM {OPEN_SINCE}))
GROUP BY a.subscription_external_id ORDER BY a.subscription_external_id
""")  # noqa: S608 - no input in it

_RAISE = text("""
INSERT INTO billing_alerts (kind, subject) VALUES (:kind, :subject) ON CONFLICT DO NOTHING RETURNING kind
""")

_CLEAR = text("""
DELETE FROM billing_alerts WHERE kind = :kind AND subject <> ALL(CAST(:still AS text[])) RETURNING subject
""")


@dataclass(frozen=True)
class Missed:
    """Events of one subscription that Lago did not get before their period closed."""

    subscription: str
    events: int


class WatchRepository:
    """The watch within one unit of work."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def hurry(self, *, margin: timedelta, lease_seconds: float) -> int:
        """Put the events first whose period closes within ``margin``, and end their back-off; how many are new."""
        return await self._uow.write(_HURRY, {"margin": margin, "lease": lease_seconds})

    async def missed(self) -> list[Missed]:
        """What waits although its period is closed: Lago will take it and bill nothing."""
        return [Missed(row.subscription, row.events) for row in await self._uow.execute(_MISSED)]

    async def raise_alert(self, kind: str, subject: str) -> bool:
        """Note that operators are told; False if they have been, by whichever bridge."""
        return (await self._uow.execute(_RAISE, {"kind": kind, "subject": subject})).one_or_none() is not None

    async def clear_alerts(self, kind: str, *, still: Collection[str] = ()) -> list[str]:
        """What of ``kind`` is over: all that was told but ``still`` holds."""
        return list((await self._uow.execute(_CLEAR, {"kind": kind, "still": list(still)})).scalars())
