"""Ledger ↔ invoices: what each finalised invoice bills for our metric against the ledger of its period."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from polaris_common.books.event_diff import wh_of
from polaris_common.books.lago_check import after_second
from polaris_common.books.three_way import MAX_IDS, SIGNED_WH, Difference, Kind
from polaris_common.db import UnitOfWork
from polaris_common.lago import wire

WITHIN_DAYS = 62
"""Invoices that became final, or changed, so long ago are compared; older ones have been."""

STARTING = "subscription_starting"
"""The invoice of a plan paid in advance bills no energy of the period that it opens."""

_INVOICES = text("""
SELECT lago_id, payload->'billing_periods' AS periods FROM lago_invoices
WHERE status = 'finalized' AND invoice_type = 'subscription' AND deleted_at IS NULL
  AND fees_mirrored_at > now() - make_interval(days => :days)
ORDER BY lago_id
""")

# Periods that ended before the ledger began belong to whatever billed before us. The stamp of its event says which
# period energy counts in: late energy is in the one that was open.
# ruff: noqa: S608 - what is put into the statement is our own
_COMPARED = text(f"""
SELECT p.invoice, p.subscription, coalesce(ledger.wh, 0) AS ledger_wh, coalesce(billed.kwh, 0) AS billed_kwh
FROM unnest(CAST(:invoices AS text[]), CAST(:subscriptions AS text[]),
            CAST(:since AS timestamptz[]), CAST(:until AS timestamptz[])) AS p(invoice, subscription, since, until)
CROSS JOIN LATERAL (
    SELECT sum({SIGNED_WH}) AS wh FROM energy_slices a JOIN lago_events e ON e.slice_id = a.id
    WHERE a.subscription_external_id = p.subscription
      AND (a.ended_at >= p.since OR a.late OR e.restamped_at IS NOT NULL)
      AND (e.body::json->>'timestamp')::numeric >= extract(epoch FROM p.since)
      AND (e.body::json->>'timestamp')::numeric < extract(epoch FROM p.until)
) AS ledger
CROSS JOIN LATERAL (
    SELECT sum(f.units) AS kwh FROM lago_fees f
    WHERE f.invoice_lago_id = p.invoice AND f.external_subscription_id = p.subscription
      AND f.item_code = :metric AND f.deleted_at IS NULL
) AS billed
WHERE p.until > (SELECT min(started_at) FROM energy_slices)
""")


# A subscription that has ended has no period that such energy could count in; where another one runs under the same
# name, it has.
_AFTER_THE_END = text(f"""
SELECT a.subscription_external_id AS subscription, sum({SIGNED_WH}) AS wh, count(*) AS events,
       (array_agg(e.transaction_id ORDER BY e.id))[1 : {MAX_IDS}] AS transaction_ids
FROM (SELECT external_id, max(terminated_at) AS ended_at FROM lago_subscriptions WHERE deleted_at IS NULL
      GROUP BY external_id
      HAVING bool_and(status IN ('terminated', 'canceled')) AND max(mirrored_at) > now() - make_interval(days => :days)
     ) AS s
JOIN energy_slices a ON a.subscription_external_id = s.external_id
JOIN lago_events e ON e.slice_id = a.id AND e.status = 'delivered'
WHERE (a.ended_at > s.ended_at OR a.late OR e.restamped_at IS NOT NULL)
  AND (e.body::json->>'timestamp')::numeric > extract(epoch FROM s.ended_at)
GROUP BY a.subscription_external_id HAVING sum({SIGNED_WH}) <> 0
""")


@dataclass(frozen=True)
class _Period:
    """What one invoice covers of one subscription."""

    invoice: str
    subscription: str
    since: datetime
    until: datetime


async def invoice_differences(uow: UnitOfWork, *, metric_code: str) -> list[Difference]:
    """The mirrored invoices that bill other energy than the ledger has for their period; positive: too little.

    Also energy that no invoice will ever bill, because Lago had ended the subscription before it was used.
    """
    periods: list[_Period] = []
    for row in await uow.execute(_INVOICES, {"days": WITHIN_DAYS}):
        periods += _periods(row.lago_id, row.periods)
    values = {
        "metric": metric_code,
        "invoices": [each.invoice for each in periods],
        "subscriptions": [each.subscription for each in periods],
        "since": [each.since for each in periods],
        "until": [each.until for each in periods],
    }
    found = []
    for row in await uow.execute(_COMPARED, values) if periods else ():
        difference = int(row.ledger_wh) - wh_of(row.billed_kwh)
        if difference:
            subject = f"invoice:{row.invoice}:{row.subscription}"
            found.append(Difference(Kind.INVOICE_DIFFERS, subject, difference, row.subscription))
    found += [
        Difference(
            Kind.INVOICE_DIFFERS,
            f"subscription:{row.subscription}:after-its-end",
            int(row.wh),
            row.subscription,
            transaction_ids=tuple(row.transaction_ids),
            event_count=row.events,
        )
        for row in await uow.execute(_AFTER_THE_END, {"days": WITHIN_DAYS})
    ]
    return sorted(found, key=lambda each: each.subject)


def _periods(invoice: str, raw: Any) -> Iterator[_Period]:
    """What the invoice says it covers; what cannot be read is left out."""
    for each in wire.objects({"periods": raw}, "periods"):
        subscription = wire.text(each, "external_subscription_id")
        since, last = wire.moment(each, "charges_from_datetime"), wire.moment(each, "charges_to_datetime")
        if subscription and since and last and wire.text(each, "invoicing_reason") != STARTING:
            yield _Period(invoice, subscription, since, after_second(last))
