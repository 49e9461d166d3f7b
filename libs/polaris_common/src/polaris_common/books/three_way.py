"""The three-way books: register ↔ ledger ↔ delivered ↔ Lago, and the invoices that Lago makes of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import text

from polaris_common.db import UnitOfWork

UNDECIDED_SECONDS = 900.0
"""A settled session that billing has not got through in so long is one that it stumbles over."""

MAX_IDS = 50
"""So many of the events that differ are kept by name; the count is of all."""

SIGNED_WH = "CASE WHEN a.layer % 2 = 0 THEN a.to_wh - a.from_wh ELSE a.from_wh - a.to_wh END"
"""What slice ``a`` sells; negative when it takes energy back."""


class Kind(StrEnum):
    """What is wrong between two books; as ``reconciliation_findings.kind``."""

    LEDGER_SHORT = "ledger_short"
    LEDGER_EXCESS = "ledger_excess"
    UNDELIVERED = "undelivered"
    QUARANTINED = "quarantined"
    MISSING_IN_LAGO = "missing_in_lago"
    EXTRA_IN_LAGO = "extra_in_lago"
    VALUE_DIFFERS = "value_differs"
    USAGE_DIFFERS = "usage_differs"
    """Lago has each event as it was sent, and counts something else."""
    INVOICE_DIFFERS = "invoice_differs"


@dataclass(frozen=True)
class Difference:
    """One difference; ``difference_wh`` is positive when energy is missing, negative when there is too much."""

    kind: Kind
    subject: str
    difference_wh: int
    subscription: str | None = None
    session_id: int | None = None
    transaction_ids: tuple[str, ...] = ()
    """The events that differ, at most ``MAX_IDS`` of them."""
    event_count: int | None = None
    """How many events differ."""


@dataclass(frozen=True)
class Payer:
    """A subscription whose usage Lago counts now."""

    subscription: str
    customer: str


@dataclass(frozen=True)
class Totals:
    """All energy, in Wh."""

    sessions: int
    metered_wh: int
    """Stop minus start of every settled session."""
    unbilled_wh: int
    """Of it, energy of sessions that are held or not billable, with their reasons."""
    unsettled_wh: int
    """Sold of sessions that are not settled: they still charge, or a person must look at them."""
    ledger_wh: int
    delivered_wh: int


# ruff: noqa: S608 - what is put into the statements is our own
_SESSION_DIFFERENCES = text(f"""
WITH sold AS (SELECT a.session_id, sum({SIGNED_WH}) AS wh FROM energy_slices a GROUP BY a.session_id)
SELECT s.id, s.steve_transaction_id, b.subscription_external_id, s.stop_wh - s.start_wh - coalesce(sold.wh, 0) AS wh
FROM charging_sessions s
LEFT JOIN session_billing b ON b.session_id = s.id
LEFT JOIN sold ON sold.session_id = s.id
WHERE s.state = 'settled'
  AND (s.billed_revision = s.revision OR s.updated_at < now() - make_interval(secs => :undecided))
  AND (b.session_id IS NULL OR b.status = 'billed' OR b.status = 'billing')
  AND s.stop_wh - s.start_wh <> coalesce(sold.wh, 0)
ORDER BY s.id
""")

_QUARANTINED = text(f"""
SELECT e.transaction_id, a.subscription_external_id, a.session_id, {SIGNED_WH} AS wh
FROM lago_events e JOIN energy_slices a ON a.id = e.slice_id
WHERE e.status = 'quarantined' ORDER BY e.id
""")

# By subscription, because a Lago that is away for a day leaves any number of events waiting.
_UNDELIVERED = text(f"""
SELECT a.subscription_external_id AS subscription, sum({SIGNED_WH}) AS wh, count(*) AS events,
       (array_agg(e.transaction_id ORDER BY e.id))[1 : {MAX_IDS}] AS transaction_ids
FROM lago_events e JOIN energy_slices a ON a.id = e.slice_id
WHERE e.status = 'pending' AND e.created_at < now() - make_interval(secs => :grace)
GROUP BY a.subscription_external_id ORDER BY a.subscription_external_id
""")

_TOTALS = text(f"""
SELECT (SELECT count(*) FROM charging_sessions WHERE state = 'settled') AS sessions,
       (SELECT coalesce(sum(stop_wh - start_wh), 0) FROM charging_sessions WHERE state = 'settled') AS metered_wh,
       (SELECT coalesce(sum(s.stop_wh - s.start_wh - b.billed_wh), 0) FROM charging_sessions s
        JOIN session_billing b ON b.session_id = s.id
        WHERE s.state = 'settled' AND b.status IN ('held', 'not_billable')) AS unbilled_wh,
       (SELECT coalesce(sum({SIGNED_WH}), 0) FROM energy_slices a
        JOIN charging_sessions s ON s.id = a.session_id WHERE s.state <> 'settled') AS unsettled_wh,
       (SELECT coalesce(sum({SIGNED_WH}), 0) FROM energy_slices a) AS ledger_wh,
       (SELECT coalesce(sum({SIGNED_WH}), 0)
        FROM lago_events e JOIN energy_slices a ON a.id = e.slice_id WHERE e.status = 'delivered') AS delivered_wh
""")

# Those whose plan counts nothing of ours, and that never had energy, have nothing to compare.
_PAYERS = text("""
SELECT s.external_id, s.external_customer_id FROM lago_subscriptions s
WHERE s.status = 'active' AND s.deleted_at IS NULL
  AND (CAST(:closing AS interval) IS NULL
       OR s.period_ending_at BETWEEN now() AND now() + CAST(:closing AS interval))
  AND (EXISTS (SELECT FROM energy_slices a WHERE a.subscription_external_id = s.external_id)
       OR coalesce((SELECT :metric = ANY(p.metric_codes) FROM lago_plans p
                    WHERE p.code = s.plan_code ORDER BY p.deleted_at NULLS FIRST LIMIT 1), true))
ORDER BY s.external_id
""")


async def internal_differences(uow: UnitOfWork, *, grace_seconds: float = 0) -> list[Difference]:
    """Register ↔ ledger and ledger ↔ delivered; events younger than ``grace_seconds`` may still be on their way."""
    found = []
    for row in await uow.execute(_SESSION_DIFFERENCES, {"undecided": UNDECIDED_SECONDS}):
        kind = Kind.LEDGER_SHORT if row.wh > 0 else Kind.LEDGER_EXCESS
        found.append(Difference(kind, f"session:{row.id}", int(row.wh), row.subscription_external_id, row.id))
    for row in await uow.execute(_QUARANTINED):
        whose = (row.subscription_external_id, row.session_id)
        found.append(Difference(Kind.QUARANTINED, row.transaction_id, int(row.wh), *whose))
    for row in await uow.execute(_UNDELIVERED, {"grace": grace_seconds}):
        subject, ids = f"subscription:{row.subscription}", tuple(row.transaction_ids)
        found.append(
            Difference(
                Kind.UNDELIVERED, subject, int(row.wh), row.subscription, transaction_ids=ids, event_count=row.events
            )
        )
    return found


async def totals(uow: UnitOfWork) -> Totals:
    """The sums of all books."""
    row = (await uow.execute(_TOTALS)).one()
    return Totals(**{name: int(value) for name, value in row._mapping.items()})


async def payers(uow: UnitOfWork, *, metric_code: str, closing_within: timedelta | None = None) -> list[Payer]:
    """The active subscriptions that energy may be counted for; of them, those whose period closes soon."""
    values = {"metric": metric_code, "closing": closing_within}
    return [Payer(row.external_id, row.external_customer_id) for row in await uow.execute(_PAYERS, values)]


def difference_of(kind: Kind, subscription: str, by_event: Mapping[str, int]) -> Difference:
    """One difference over several events, given with the Wh that each is off."""
    return Difference(
        kind,
        f"subscription:{subscription}",
        sum(by_event.values()),
        subscription,
        transaction_ids=tuple(sorted(by_event)[:MAX_IDS]),
        event_count=len(by_event),
    )
