"""The figures of the delivery to Lago, for gauges and for operators."""

from dataclasses import dataclass

from sqlalchemy import text

from polaris_common.db import UnitOfWork

_FIGURES = text("""
SELECT p.pending, p.urgent, coalesce(extract(epoch FROM now() - p.oldest), 0) AS oldest_unsent_seconds,
       (SELECT count(*) FROM lago_events WHERE status = 'quarantined') AS quarantined,
       coalesce((SELECT value FROM billing_counters WHERE name = 'events_delivered'), 0) AS delivered_total
FROM (SELECT count(*) AS pending, count(*) FILTER (WHERE urgent) AS urgent, min(created_at) AS oldest
      FROM lago_events WHERE status = 'pending') p
""")


@dataclass(frozen=True)
class BillingFigures:
    """How the delivery to Lago stands."""

    pending: int
    """Events that Lago does not have yet."""
    urgent: int
    """Of them, those whose billing period is about to close."""
    oldest_unsent_seconds: float
    """The age of the oldest of them; 0 when there is none."""
    quarantined: int
    """Events that Lago refuses; a person must look."""
    delivered_total: int
    """Events that Lago has accepted, ever; an event sent again counts again."""


async def billing_figures(uow: UnitOfWork) -> BillingFigures:
    """The figures now: one query, by the database's clock."""
    row = (await uow.execute(_FIGURES)).one()
    return BillingFigures(
        row.pending, row.urgent, float(row.oldest_unsent_seconds), row.quarantined, row.delivered_total
    )
