"""The three-way books: register ↔ ledger ↔ delivered ↔ Lago."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import text

from polaris_common.db import UnitOfWork


class Kind(StrEnum):
    """What is wrong between two books; as ``reconciliation_findings.kind``."""

    LEDGER_SHORT = "ledger_short"
    LEDGER_EXCESS = "ledger_excess"
    UNDELIVERED = "undelivered"
    QUARANTINED = "quarantined"
    MISSING_IN_LAGO = "missing_in_lago"
    EXTRA_IN_LAGO = "extra_in_lago"


@dataclass(frozen=True)
class Difference:
    """One difference; ``difference_wh`` is positive when energy is missing, negative when there is too much."""

    kind: Kind
    subject: str
    difference_wh: int
    subscription: str | None = None
    session_id: int | None = None


@dataclass(frozen=True)
class SubscriptionBooks:
    """One subscription's energy of the running period, in Wh."""

    subscription: str
    customer: str
    period_started_at: datetime | None
    period_ending_at: datetime | None
    delivered_wh: int
    """What Lago has accepted for the running period."""


@dataclass(frozen=True)
class Totals:
    """All energy, in Wh."""

    sessions: int
    metered_wh: int
    """Stop minus start of every settled session."""
    unbilled_wh: int
    """Of it, energy of sessions that are held or not billable, with their reasons."""
    ledger_wh: int
    delivered_wh: int


_SESSION_DIFFERENCES = text("""
WITH sold AS (
    SELECT session_id, sum(CASE WHEN layer % 2 = 0 THEN to_wh - from_wh ELSE from_wh - to_wh END) AS wh
    FROM energy_slices GROUP BY session_id
)
SELECT s.id, s.steve_transaction_id, b.subscription_external_id, s.stop_wh - s.start_wh - coalesce(sold.wh, 0) AS wh
FROM charging_sessions s
LEFT JOIN session_billing b ON b.session_id = s.id
LEFT JOIN sold ON sold.session_id = s.id
WHERE s.state = 'settled' AND s.billed_revision = s.revision
  AND (b.session_id IS NULL OR b.status = 'billed' OR b.status = 'billing')
  AND s.stop_wh - s.start_wh <> coalesce(sold.wh, 0)
ORDER BY s.id
""")

_EVENT_DIFFERENCES = text("""
SELECT e.transaction_id, e.status, a.subscription_external_id, a.session_id,
       CASE WHEN a.layer % 2 = 0 THEN a.to_wh - a.from_wh ELSE a.from_wh - a.to_wh END AS wh
FROM lago_events e JOIN energy_slices a ON a.id = e.slice_id
WHERE e.status = 'quarantined' OR (e.status = 'pending' AND e.created_at < now() - make_interval(secs => :grace))
ORDER BY e.id
""")

_TOTALS = text("""
SELECT (SELECT count(*) FROM charging_sessions WHERE state = 'settled') AS sessions,
       (SELECT coalesce(sum(stop_wh - start_wh), 0) FROM charging_sessions WHERE state = 'settled') AS metered_wh,
       (SELECT coalesce(sum(s.stop_wh - s.start_wh - b.billed_wh), 0) FROM charging_sessions s
        JOIN session_billing b ON b.session_id = s.id
        WHERE s.state = 'settled' AND b.status IN ('held', 'not_billable')) AS unbilled_wh,
       (SELECT coalesce(sum(CASE WHEN layer % 2 = 0 THEN to_wh - from_wh ELSE from_wh - to_wh END), 0)
        FROM energy_slices) AS ledger_wh,
       (SELECT coalesce(sum(CASE WHEN a.layer % 2 = 0 THEN a.to_wh - a.from_wh ELSE a.from_wh - a.to_wh END), 0)
        FROM lago_events e JOIN energy_slices a ON a.id = e.slice_id WHERE e.status = 'delivered') AS delivered_wh
""")

_SUBSCRIPTIONS = text("""
SELECT s.external_id, s.external_customer_id, s.period_started_at, s.period_ending_at,
       coalesce(sum(CASE WHEN a.layer % 2 = 0 THEN a.to_wh - a.from_wh ELSE a.from_wh - a.to_wh END)
                FILTER (WHERE e.status = 'delivered'
                        AND (s.period_started_at IS NULL
                             OR (e.body::json->>'timestamp')::numeric >= extract(epoch FROM s.period_started_at))
                        AND (s.period_ending_at IS NULL
                             OR (e.body::json->>'timestamp')::numeric <= extract(epoch FROM s.period_ending_at))),
                0) AS delivered_wh
FROM lago_subscriptions s
LEFT JOIN energy_slices a ON a.subscription_external_id = s.external_id
LEFT JOIN lago_events e ON e.slice_id = a.id
WHERE s.status = 'active' AND s.deleted_at IS NULL
GROUP BY s.lago_id ORDER BY s.external_id
""")


async def internal_differences(uow: UnitOfWork, *, grace_seconds: float = 0) -> list[Difference]:
    """Register ↔ ledger and ledger ↔ delivered; events younger than ``grace_seconds`` may still be on their way."""
    found = []
    for row in await uow.execute(_SESSION_DIFFERENCES):
        kind = Kind.LEDGER_SHORT if row.wh > 0 else Kind.LEDGER_EXCESS
        found.append(Difference(kind, f"session:{row.id}", int(row.wh), row.subscription_external_id, row.id))
    for row in await uow.execute(_EVENT_DIFFERENCES, {"grace": grace_seconds}):
        kind = Kind.QUARANTINED if row.status == "quarantined" else Kind.UNDELIVERED
        found.append(Difference(kind, row.transaction_id, int(row.wh), row.subscription_external_id, row.session_id))
    return found


async def totals(uow: UnitOfWork) -> Totals:
    """The sums of all books."""
    row = (await uow.execute(_TOTALS)).one()
    return Totals(row.sessions, int(row.metered_wh), int(row.unbilled_wh), int(row.ledger_wh), int(row.delivered_wh))


async def subscription_books(uow: UnitOfWork) -> Sequence[SubscriptionBooks]:
    """What Lago should have counted for each active subscription in its running period."""
    return [
        SubscriptionBooks(
            row.external_id,
            row.external_customer_id,
            row.period_started_at,
            row.period_ending_at,
            int(row.delivered_wh),
        )
        for row in await uow.execute(_SUBSCRIPTIONS)
    ]


def lago_wh(usage: dict[str, Any], metric_code: str) -> int:
    """The Wh that Lago's ``current_usage`` has counted under ``metric_code``."""
    units = sum(
        (
            Decimal(str(charge["units"]))
            for charge in usage.get("charges_usage") or []
            if charge.get("billable_metric", {}).get("code") == metric_code
        ),
        Decimal(0),
    )
    return int(units * 1000)


def against_lago(books: SubscriptionBooks, counted_wh: int) -> Difference | None:
    """The difference between what Lago accepted and what it counts; None when there is none."""
    difference = books.delivered_wh - counted_wh
    if difference == 0:
        return None
    kind = Kind.MISSING_IN_LAGO if difference > 0 else Kind.EXTRA_IN_LAGO
    return Difference(kind, f"subscription:{books.subscription}", difference, books.subscription)
