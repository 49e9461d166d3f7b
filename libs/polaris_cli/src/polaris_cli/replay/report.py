"""Comparing the books: what the file says was charged with what Lago has counted."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from polaris_common.energy import EnergyError, wh_from_kwh

_TRANSACTION_ID = re.compile(r"steve_tx_(\d+)_(\d+)_(\d+)", re.ASCII)


@dataclass(frozen=True)
class Expected:
    """One session of the file."""

    transaction_id: int | None
    """SteVe's; None when it was never started."""
    driver: str
    wh: int


@dataclass(frozen=True)
class BilledRange:
    """One usage event that Lago has accepted: energy ``[from_wh, to_wh)`` of a session's register."""

    event_id: str
    transaction_id: int
    from_wh: int
    to_wh: int
    wh: int
    """What the event says it bills."""


class UnreadableEvent(Exception):
    """Lago holds an event that is none of ours."""


@dataclass(frozen=True)
class Report:
    """The result, in the units and names of the last line of output."""

    sessions: int
    energy_wh: int
    billed_wh: int
    events: int
    unbilled: Mapping[str, int]
    duplicates: int
    lost: int
    mismatches: int
    seconds: float

    @property
    def balanced(self) -> bool:
        """Whether every watt-hour is billed exactly once, to whom it belongs."""
        wrong = self.duplicates + self.lost + self.mismatches
        return wrong == 0 and self.billed_wh == self.energy_wh

    def to_json(self) -> str:
        """One JSON object on one line."""
        return json.dumps(
            {
                "sessions": self.sessions,
                "energyWh": self.energy_wh,
                "billedWh": self.billed_wh,
                "events": self.events,
                "unbilled": dict(self.unbilled),
                "duplicates": self.duplicates,
                "lost": self.lost,
                "perDriverMismatches": self.mismatches,
                "seconds": self.seconds,
            },
            separators=(",", ":"),
        )


def billed_range(event: Mapping[str, Any]) -> BilledRange:
    """Read one event as Lago lists it.

    Raises:
        UnreadableEvent: its id or its properties are not of the form that the billing-bridge sends.
    """
    event_id, properties = str(event.get("transaction_id")), event.get("properties") or {}
    match = _TRANSACTION_ID.fullmatch(event_id)
    try:
        if match is None:
            raise UnreadableEvent(event_id)
        found = BilledRange(
            event_id=event_id,
            transaction_id=int(properties["session_id"]),
            from_wh=int(properties["meter_from_wh"]),
            to_wh=int(properties["meter_to_wh"]),
            wh=wh_from_kwh(properties["kwh"]),
        )
    except (KeyError, ValueError, TypeError, EnergyError):
        raise UnreadableEvent(event_id) from None
    if (found.transaction_id, found.from_wh, found.to_wh) != tuple(int(part) for part in match.groups()):
        raise UnreadableEvent(event_id)
    return found


def wh_of_units(units: str) -> int:
    """Lago's kWh as Wh.

    Raises:
        UnreadableEvent: finer than a watt-hour, which we never send.
    """
    wh = Decimal(units) * 1000
    if wh != wh.to_integral_value():
        raise UnreadableEvent(f"{units} kWh in total")
    return int(wh)


def compare(
    expected: Sequence[Expected],
    ranges: Sequence[BilledRange],
    billed_by_driver: Mapping[str, int],
    unbilled: Mapping[str, int],
    *,
    repeated_in_lago: int,
    seconds: float,
) -> Report:
    """The report.

    ``ranges``: the accepted events, in any order, also repeated. ``billed_by_driver``: what Lago aggregated, Wh.
    ``repeated_in_lago``: event ids that Lago counts more than once.
    """
    by_session: dict[int, list[BilledRange]] = {}
    for one in ranges:
        by_session.setdefault(one.transaction_id, []).append(one)
    charged: Counter[str] = Counter()
    for session in expected:
        charged[session.driver] += session.wh
    drivers = charged.keys() | billed_by_driver.keys()
    return Report(
        sessions=len(expected),
        energy_wh=sum(session.wh for session in expected),
        billed_wh=sum(billed_by_driver.values()),
        events=len({one.event_id for one in ranges}),
        unbilled=dict(sorted(unbilled.items())),
        duplicates=repeated_in_lago + sum(overlaps(found) for found in by_session.values()),
        lost=sum(not _is_billed(session, by_session) for session in expected),
        mismatches=sum(charged[driver] != billed_by_driver.get(driver, 0) for driver in drivers),
        seconds=round(seconds, 1),
    )


def overlaps(ranges: Iterable[BilledRange]) -> int:
    """How many of one session's events bill energy that another one bills too; the same id twice is one event."""
    distinct = {one.event_id: one for one in ranges}
    count, reached = 0, -1
    for one in sorted(distinct.values(), key=lambda one: (one.from_wh, one.to_wh)):
        count += one.from_wh < reached
        reached = max(reached, one.to_wh)
    return count


def _is_billed(session: Expected, by_session: Mapping[int, Sequence[BilledRange]]) -> bool:
    ranges = by_session.get(session.transaction_id, ()) if session.transaction_id is not None else ()
    return sum({one.event_id: one.wh for one in ranges}.values()) == session.wh
