"""From events to units: values, filters, groups and the five aggregations."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal

from polaris_sim.lago.config import EventStore
from polaris_sim.lago.models import Aggregation, Charge, ChargeFilter, Event, Metric
from polaris_sim.lago.wire import JsonObject, integer, plain, strings

ANY_DECLARED_VALUE = "__ALL_FILTER_VALUES__"
_NUMERIC_VALUE = re.compile(r"-?\d+(\.\d+)?")
_NEEDS_NUMBER = {Aggregation.SUM, Aggregation.MAX, Aggregation.LATEST, Aggregation.WEIGHTED_SUM}
_ROUNDING = {"ceil": ROUND_CEILING, "floor": ROUND_FLOOR, "round": ROUND_HALF_UP}

Group = tuple[tuple[str, str | None], ...]


@dataclass
class Bucket:
    """The events of one charge, filter and group."""

    filter: ChargeFilter | None
    group: Group
    readings: list[tuple[int, str, Event]] = field(default_factory=list)
    units: Decimal = Decimal(0)
    precise_amount_cents: Decimal = Decimal(0)


def property_text(event: Event, name: str | None, store: EventStore) -> str | None:
    """A property as the event store keeps it: text.

    Postgres prints JSON numbers in full; ClickHouse gets them through Go's ``%v``, so 1000000 becomes ``1e+06``.
    """
    value = event.properties.get(name) if name else None
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return _go_text(Decimal(value)) if store is EventStore.CLICKHOUSE else format(Decimal(value), "f")
    return str(value)


def _go_text(value: Decimal) -> str:
    exponent = value.adjusted()
    if not value or -4 <= exponent < 6:
        return plain(value)
    return f"{plain(value.scaleb(-exponent))}e{exponent:+03d}"


def value_of(event: Event, metric: Metric, store: EventStore) -> str | None:
    """The text that the metric aggregates; None when the aggregation ignores the event (fact 8)."""
    if metric.aggregation is Aggregation.COUNT:
        return "1"
    value = property_text(event, metric.field_name, store)
    if value is None or (metric.aggregation in _NEEDS_NUMBER and not _NUMERIC_VALUE.fullmatch(value)):
        return None
    return value


def buckets(charge: Charge, events: Iterable[Event], store: EventStore) -> list[Bucket]:
    """The usage of one charge. Every filter and the default have a bucket, also without events."""
    found: dict[tuple[ChargeFilter | None, Group], Bucket] = {}
    for known in (None, *charge.filters):
        if not grouping_keys(charge, known):
            found[(known, ())] = Bucket(known, ())
    for event in events:
        value = value_of(event, charge.metric, store)
        if value is None:
            continue
        matched = matching_filter(charge, event, store)
        group = tuple((key, property_text(event, key, store)) for key in grouping_keys(charge, matched))
        bucket = found.get((matched, group))
        if bucket is None:
            bucket = found[(matched, group)] = Bucket(matched, group)
        bucket.readings.append((event.timestamp, value, event))
    for bucket in found.values():
        _aggregate(bucket, charge.metric)
    return list(found.values())


def grouping_keys(charge: Charge, matched: ChargeFilter | None) -> list[str]:
    """The ``pricing_group_keys`` in force for a filter (or the default)."""
    properties = matched.properties if matched else charge.properties
    return strings(properties, "pricing_group_keys") or strings(properties, "grouped_by")


def matching_filter(charge: Charge, event: Event, store: EventStore) -> ChargeFilter | None:
    """The most specific filter that the event matches; None is the charge's default price."""
    best: ChargeFilter | None = None
    for candidate in charge.filters:
        if _matches(candidate, charge.metric, event, store) and (
            best is None or _specificity(candidate) > _specificity(best)
        ):
            best = candidate
    return best


def _matches(candidate: ChargeFilter, metric: Metric, event: Event, store: EventStore) -> bool:
    for key, values in candidate.values.items():
        value = property_text(event, key, store)
        allowed = metric.filters.get(key, []) if ANY_DECLARED_VALUE in values else values
        if value not in allowed:
            return False
    return True


def _specificity(candidate: ChargeFilter) -> tuple[int, int]:
    named = sum(1 for values in candidate.values.values() if ANY_DECLARED_VALUE not in values)
    return len(candidate.values), named


def units_of(metric: Metric, readings: list[tuple[int, str, Event]]) -> Decimal:
    """Aggregate, not clamped and not rounded."""
    match metric.aggregation:
        case Aggregation.COUNT:
            return Decimal(len(readings))
        case Aggregation.SUM:
            return sum((Decimal(value) for _, value, _ in readings), Decimal(0))
        case Aggregation.MAX:
            return max((Decimal(value) for _, value, _ in readings), default=Decimal(0))
        case Aggregation.LATEST:
            return Decimal(max(readings, key=lambda reading: reading[0])[1]) if readings else Decimal(0)
        case Aggregation.UNIQUE_COUNT:
            return Decimal(_unique(readings))
        case Aggregation.WEIGHTED_SUM:
            return Decimal(0)


def _unique(readings: list[tuple[int, str, Event]]) -> int:
    present: set[str] = set()
    for _, value, event in sorted(readings, key=lambda reading: reading[0]):
        if event.properties.get("operation_type") == "remove":
            present.discard(value)
        else:
            present.add(value)
    return len(present)


def _aggregate(bucket: Bucket, metric: Metric) -> None:
    units = max(units_of(metric, bucket.readings), Decimal(0))  # fact 12: negative usage is not carried over
    bucket.units = _rounded(units, metric.fields)
    for _, _, event in bucket.readings:
        amount = event.precise_total_amount_cents
        if amount and _NUMERIC_VALUE.fullmatch(amount):
            bucket.precise_amount_cents += Decimal(amount)


def _rounded(units: Decimal, fields: JsonObject) -> Decimal:
    rounding = _ROUNDING.get(str(fields.get("rounding_function")))
    if rounding is None:
        return units
    return units.quantize(Decimal(1).scaleb(-integer(fields, "rounding_precision")), rounding=rounding)
