"""Every query on waiting and delivered Lago events."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from polaris_common.db import UnitOfWork

LEASE_SECONDS = 10
"""How long a claim keeps other senders away. Sending twice is harmless: the texts are the same, Lago takes one."""

URGENT_BACKOFF_SECONDS = 5
"""The longest wait of an event whose period is about to close, unless Lago itself asks for a longer one."""

INVOICED_AFTER_SECONDS = 8 * 60
"""Lago makes a period's invoice from ten minutes after its end on; until then it counts what arrives (lago.md §7.4)."""

ARRIVED_AFTER_SECONDS = 5 * 60
"""How long an event that was sent may be under way before its absence from Lago means anything."""

# Nothing is taken back of energy whose own event waits to be stamped anew; as a rule nothing waits.
_CLAIM = text("""
UPDATE lago_events SET attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => :lease)
WHERE id IN (
    SELECT id FROM lago_events WHERE status = 'pending' AND next_attempt_at <= now() AND overdue_since IS NULL
      AND slice_id <> ALL (ARRAY(
          SELECT above.id FROM lago_events o JOIN energy_slices a ON a.id = o.slice_id
          JOIN energy_slices above ON above.session_id = a.session_id AND above.layer > a.layer
          WHERE o.overdue_since IS NOT NULL))
    ORDER BY urgent DESC, next_attempt_at, id LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING id, transaction_id, body, attempts, urgent
""")

_DELIVERED = text("""
UPDATE lago_events SET status = 'delivered', delivered_at = now(), last_error = NULL, overdue_since = NULL
WHERE id = ANY(CAST(:ids AS bigint[])) AND status = 'pending' RETURNING slice_id
""")

_COUNT = text("""
INSERT INTO billing_counters (name, value) VALUES ('events_delivered', :new)
ON CONFLICT (name) DO UPDATE SET value = billing_counters.value + excluded.value
""")

_QUARANTINED = text("""
UPDATE lago_events SET status = 'quarantined', last_error = :error
WHERE id = :id AND status = 'pending'
""")

_POSTPONED = text("""
UPDATE lago_events SET last_error = :error, next_attempt_at = now() + make_interval(secs => greatest(
    CAST(:asked AS float8), least(CAST(:seconds AS float8), CASE WHEN urgent THEN CAST(:urgent AS float8) END)))
WHERE id = ANY(CAST(:ids AS bigint[])) AND status = 'pending'
""")

_GIVEN_BACK = text("""
UPDATE lago_events SET attempts = attempts - 1, next_attempt_at = now()
WHERE id = ANY(CAST(:ids AS bigint[])) AND status = 'pending'
""")

OPEN_SINCE = """
CASE WHEN s.period_ending_at < now() AND s.mirrored_at <= s.period_ending_at
     THEN s.period_ending_at ELSE s.period_started_at END
"""
"""When the open period of subscription ``s`` began: one that has ended since Lago told us of it counts as closed, as in
``domain.payer``."""

# For a while after a period's end Lago has not made the invoice yet. What a sender holds right now is looked at again
# next time.
_MARK_OVERDUE = text(f"""
UPDATE lago_events SET overdue_since = now() WHERE id IN (
    SELECT e.id FROM lago_events e
    JOIN energy_slices a ON a.id = e.slice_id
    JOIN lago_subscriptions s
        ON s.external_id = a.subscription_external_id AND s.status = 'active' AND s.deleted_at IS NULL
    CROSS JOIN LATERAL (SELECT {OPEN_SINCE}) AS period(open_since)
    WHERE e.status = 'pending' AND e.overdue_since IS NULL AND e.next_attempt_at <= now()
      AND period.open_since < now() - make_interval(secs => :margin)
      AND substring(e.body::json->>'timestamp' FROM '^[0-9.]+$')::numeric < extract(epoch FROM period.open_since)
    FOR UPDATE OF e SKIP LOCKED)
""")  # noqa: S608 - no input in it

_OVERDUE = text("""
SELECT e.id, e.transaction_id, e.body, e.attempts, s.id AS session_id, s.steve_transaction_id, s.charge_box_id,
       s.connector_id, s.tag_mapping_id,
       CASE WHEN a.layer % 2 = 0 THEN a.to_wh - a.from_wh ELSE a.from_wh - a.to_wh END AS wh
FROM lago_events e JOIN energy_slices a ON a.id = e.slice_id JOIN charging_sessions s ON s.id = a.session_id
WHERE e.overdue_since <= CASE WHEN e.attempts = 0 THEN now() ELSE now() - make_interval(secs => :arrived) END
  AND e.status = 'pending' ORDER BY e.id LIMIT :limit
""")

_RESTAMP = text("""
UPDATE lago_events e SET body = v.body, restamped_at = clock_timestamp(), overdue_since = NULL, next_attempt_at = now()
FROM unnest(CAST(:ids AS bigint[]), CAST(:bodies AS text[])) AS v(id, body)
WHERE e.id = v.id AND e.status = 'pending' AND e.overdue_since IS NOT NULL RETURNING e.id
""")

_SESSIONS = text("""
SELECT s.id, s.steve_transaction_id, s.charge_box_id, s.connector_id, s.user_id, s.tag_mapping_id,
       CAST(sum(a.to_wh - a.from_wh) FILTER (WHERE e.status = 'delivered') AS bigint) AS delivered_wh,
       b.billed_wh, b.status AS billing_status,
       (array_agg(e.transaction_id ORDER BY e.delivered_at DESC NULLS LAST, a.slice_index DESC))[1] AS last_transaction
FROM charging_sessions s
JOIN session_billing b ON b.session_id = s.id
JOIN energy_slices a ON a.session_id = s.id
JOIN lago_events e ON e.slice_id = a.id
WHERE s.id IN (SELECT session_id FROM energy_slices WHERE id = ANY(CAST(:slices AS bigint[])))
GROUP BY s.id, b.session_id ORDER BY s.id
""")


class Claimed(NamedTuple):
    """One event that this sender may send now."""

    id: int
    transaction_id: str
    body: str
    attempts: int
    urgent: bool


class Overdue(NamedTuple):
    """One event whose period closed before Lago is known to have it; the columns of ``_OVERDUE``."""

    id: int
    transaction_id: str
    body: str
    attempts: int
    session_id: int
    steve_transaction_id: int
    charge_box_id: str
    connector_id: int
    tag_mapping_id: int | None
    wh: int


class Standing(NamedTuple):
    """How much of a session Lago has; the columns of ``_SESSIONS``."""

    session_id: int
    steve_transaction_id: int
    charge_box_id: str
    connector_id: int
    user_id: UUID | None
    tag_mapping_id: int | None
    delivered_wh: int
    billed_wh: int
    billing_status: str
    last_transaction: str


class LagoEventRepository:
    """The delivery side of the ledger within one unit of work."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def claim(self, limit: int) -> list[Claimed]:
        """Take up to ``limit`` events that are due: urgent ones first, then oldest first."""
        rows = await self._uow.execute(_CLAIM, {"limit": limit, "lease": LEASE_SECONDS})
        claimed = [Claimed._make(row) for row in rows]
        return sorted(claimed, key=lambda event: (not event.urgent, event.id))

    async def delivered(self, ids: Sequence[int]) -> list[int]:
        """Lago has these; the ids of their slices (without those that were marked before)."""
        slices = list((await self._uow.execute(_DELIVERED, {"ids": list(ids)})).scalars())
        if slices:
            await self._uow.execute(_COUNT, {"new": len(slices)})
        return slices

    async def quarantine(self, event_id: int, error: str) -> None:
        """Lago refuses this one for good."""
        await self._uow.execute(_QUARANTINED, {"id": event_id, "error": error})

    async def postpone(self, ids: Sequence[int], *, seconds: float, asked: float, error: str) -> None:
        """Try these again after ``seconds``, urgent ones sooner; none before the ``asked`` seconds that Lago wants."""
        values = {"seconds": seconds, "asked": asked, "urgent": URGENT_BACKOFF_SECONDS, "error": error}
        await self._uow.execute(_POSTPONED, {"ids": list(ids), **values})

    async def mark_overdue(self) -> int:
        """Keep from being sent as it is what Lago would take and not bill; how many are new."""
        return await self._uow.write(_MARK_OVERDUE, {"margin": INVOICED_AFTER_SECONDS})

    async def overdue(self, limit: int) -> list[Overdue]:
        """What was never sent, and what would have arrived by now if it had."""
        values = {"arrived": ARRIVED_AFTER_SECONDS, "limit": limit}
        return [Overdue._make(row) for row in await self._uow.execute(_OVERDUE, values)]

    async def restamp(self, texts: Mapping[int, str]) -> set[int]:
        """Give overdue events other texts, which are due at once; those that still were overdue."""
        values = {"ids": list(texts), "bodies": list(texts.values())}
        return set((await self._uow.execute(_RESTAMP, values)).scalars())

    async def give_back(self, ids: Sequence[int]) -> None:
        """These were claimed and not sent: they are due as before."""
        await self._uow.execute(_GIVEN_BACK, {"ids": list(ids)})

    async def sessions_of(self, slice_ids: Sequence[int]) -> list[Standing]:
        """The sessions of these slices with what is delivered of each."""
        return [Standing._make(row) for row in await self._uow.execute(_SESSIONS, {"slices": list(slice_ids)})]
