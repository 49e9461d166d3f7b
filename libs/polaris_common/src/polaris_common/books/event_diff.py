"""Two lists of events compared by transaction_id: what Lago has of what it accepted from us."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from polaris_common.lago import wire


@dataclass(frozen=True)
class EventValue:
    """What an event bills: Wh (negative when energy is taken back), at a time in Unix milliseconds."""

    wh: int
    at_ms: int


@dataclass(frozen=True)
class Stored:
    """One event as Lago shows it."""

    transaction_id: str
    value: EventValue


@dataclass
class EventDiff:
    """What differs; energy in Wh by transaction_id, positive when Lago has too little."""

    missing: dict[str, int] = field(default_factory=dict)
    """Accepted, but not in Lago."""
    extra: dict[str, int] = field(default_factory=dict)
    """In Lago, but never sent by us, or there more than once."""
    differing: dict[str, int] = field(default_factory=dict)
    """In Lago with another energy or another time."""


def stored(raw: Mapping[str, Any]) -> Stored | None:
    """An event of Lago's list; None when it has no id. What bills nothing (no number in it) has 0 Wh."""
    transaction_id, at = wire.text(raw, "transaction_id"), wire.moment(raw, "timestamp")
    if transaction_id is None:
        return None
    kwh = wire.decimal(wire.nested(raw, "properties"), "value") or Decimal(0)
    return Stored(transaction_id, EventValue(wh_of(kwh), _milliseconds(at)))


def wh_of(kwh: Decimal) -> int:
    """Lago's kWh as Wh; a fraction of a Wh, which we never send, is rounded."""
    return int((kwh * 1000).to_integral_value())


def diff_events(
    ours: Mapping[str, EventValue], theirs: Iterable[Stored], known: Collection[str] = frozenset()
) -> EventDiff:
    """What Lago (``theirs``, newest arrival first) makes of what it accepted (``ours``).

    The same id at the same time is one event however often it is listed: ClickHouse keeps the newest. At another time
    it is billed once more. ``known``: ids of ours that are on their way, or with a person; they are left out.
    """
    found: dict[str, dict[int, int]] = {}
    for (transaction_id, at_ms), value in newest(theirs).items():
        found.setdefault(transaction_id, {})[at_ms] = value.wh
    diff = EventDiff()
    for transaction_id, sent in ours.items():
        copies = found.pop(transaction_id, None)
        if copies is None:
            diff.missing[transaction_id] = sent.wh
            continue
        at_ms = sent.at_ms if sent.at_ms in copies else next(iter(copies))
        wh = copies.pop(at_ms)
        if (wh, at_ms) != (sent.wh, sent.at_ms):
            diff.differing[transaction_id] = sent.wh - wh
        if copies:
            diff.extra[transaction_id] = -sum(copies.values())
    diff.extra |= {name: -sum(copies.values()) for name, copies in found.items() if name not in known}
    return diff


def newest(theirs: Iterable[Stored]) -> dict[tuple[str, int], EventValue]:
    """What counts of a list of events, the newest arrival first: one for each id and time."""
    counting: dict[tuple[str, int], EventValue] = {}
    for each in theirs:
        counting.setdefault((each.transaction_id, each.value.at_ms), each.value)
    return counting


def sent_value(wh: int, timestamp: str) -> EventValue:
    """The value of an event of ours, from the timestamp that it was sent with."""
    try:
        return EventValue(wh, int((Decimal(timestamp) * 1000).to_integral_value()))
    except InvalidOperation:
        return EventValue(wh, 0)


def _milliseconds(at: datetime | None) -> int:
    return 0 if at is None else round(at.timestamp() * 1000)
