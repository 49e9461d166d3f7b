"""What Lago would bill in total: the figure a replay must match."""

from dataclasses import dataclass
from decimal import Decimal

from polaris_sim.lago.aggregation import units_of, value_of
from polaris_sim.lago.models import Event, Metric
from polaris_sim.lago.organization import Organization
from polaris_sim.lago.usage import within
from polaris_sim.lago.wire import JsonObject, plain


@dataclass
class SeriesTotal:
    """All units of one subscription and metric, and how many events made them."""

    units: Decimal
    events_count: int


def totals(organization: Organization) -> JsonObject:
    """Units per subscription and metric over all time within the subscription's life, neither clamped nor rounded.

    ``ignored`` counts stored events that never bill: unknown code or subscription, outside its life, unusable value.
    ``duplicateTransactionIds`` counts ids behind more than one event that counts, that is, possible double billing.
    """
    log = organization.events
    units: dict[str, dict[str, JsonObject]] = {}
    counted = stored = 0
    for (external_id, code), events in log.counted():
        stored += len(events)
        total = series_total(organization, external_id, code, events)
        if external_id is not None and total is not None:
            counted += total.events_count
            shown: JsonObject = {"units": plain(total.units), "eventsCount": total.events_count}
            units.setdefault(external_id, {})[code] = shown
    return {
        "events": stored,
        "units": units,
        "duplicateTransactionIds": log.repeated_transaction_ids(),
        "ignored": stored - counted,
        "refusedDuplicates": log.refused_duplicates,
        "overwritten": log.overwritten,
    }


def series_total(
    organization: Organization, external_id: str | None, code: str, events: list[Event]
) -> SeriesTotal | None:
    """The total of one series; None when the code or the subscription is unknown."""
    metric = organization.metrics.get(code)
    chain = organization.subscriptions.get(external_id or "")
    if metric is None or not chain:
        return None
    total = SeriesTotal(Decimal(0), 0)
    horizon = max((event.timestamp for event in events), default=0) + 1
    for subscription in chain:
        life = subscription.life(horizon)
        if life is not None:
            readings = _readings(metric, list(within(events, life)), organization)
            total.units += units_of(metric, readings)
            total.events_count += len(readings)
    return total


def _readings(metric: Metric, events: list[Event], organization: Organization) -> list[tuple[int, str, Event]]:
    found = []
    for event in events:
        value = value_of(event, metric, organization.config.store)
        if value is not None:
            found.append((event.timestamp, value, event))
    return found
