"""The books balance only when every watt-hour is billed once, to its driver."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from polaris_cli.replay.report import (
    BilledRange,
    Expected,
    Report,
    UnreadableEvent,
    billed_range,
    compare,
    overlaps,
    wh_of_units,
)


def billed(transaction: int, from_wh: int, to_wh: int) -> BilledRange:
    return BilledRange(f"steve_tx_{transaction}_{from_wh}_{to_wh}", transaction, from_wh, to_wh, to_wh - from_wh)


EXPECTED = [Expected(1, "ada", 1_000), Expected(2, "ada", 0), Expected(3, "bob", 500)]
RANGES = [billed(1, 0, 400), billed(1, 400, 1_000), billed(3, 200, 700)]
TOTALS = {"ada": 1_000, "bob": 500}


def report(
    *,
    expected: Sequence[Expected] = EXPECTED,
    ranges: Sequence[BilledRange] = RANGES,
    totals: Mapping[str, int] = TOTALS,
    repeated: int = 0,
) -> Report:
    return compare(expected, ranges, totals, {"zero_energy": 1}, repeated_in_lago=repeated, seconds=12.34)


def test_balanced_books() -> None:
    balanced = report()

    assert balanced.balanced
    assert json.loads(balanced.to_json()) == {
        "sessions": 3,
        "energyWh": 1_500,
        "billedWh": 1_500,
        "events": 3,
        "unbilled": {"zero_energy": 1},
        "duplicates": 0,
        "lost": 0,
        "perDriverMismatches": 0,
        "seconds": 12.3,
    }
    assert "\n" not in balanced.to_json()


def test_a_lost_session() -> None:
    lost = report(ranges=RANGES[:2], totals={"ada": 1_000})

    assert (lost.lost, lost.mismatches, lost.balanced) == (1, 1, False)


def test_a_session_that_never_started_is_lost() -> None:
    lost = report(expected=[*EXPECTED, Expected(None, "ada", 10)])

    assert (lost.lost, lost.balanced) == (1, False)


def test_energy_billed_twice_under_other_ranges() -> None:
    doubled = report(ranges=[*RANGES, billed(1, 500, 700)], totals={"ada": 1_200, "bob": 500})

    assert (doubled.duplicates, doubled.lost, doubled.mismatches, doubled.balanced) == (1, 1, 1, False)


def test_an_event_that_lago_counts_twice() -> None:
    doubled = report(repeated=1, totals={"ada": 1_600, "bob": 500})

    assert (doubled.duplicates, doubled.balanced) == (1, False)


def test_an_event_that_was_sent_again_and_counts_once_is_no_duplicate() -> None:
    again = report(ranges=[*RANGES, RANGES[0]])

    assert (again.duplicates, again.events, again.balanced) == (0, 3, True)


def test_energy_billed_to_somebody_else() -> None:
    swapped = report(totals={"ada": 500, "bob": 1_000})

    assert (swapped.billed_wh, swapped.lost, swapped.mismatches, swapped.balanced) == (1_500, 0, 2, False)


def test_a_session_without_energy_that_is_billed() -> None:
    wrong = report(ranges=[*RANGES, billed(2, 0, 5)], totals={"ada": 1_005, "bob": 500})

    assert (wrong.lost, wrong.mismatches, wrong.balanced) == (1, 1, False)


def test_overlaps_counts_the_events_that_repeat_energy() -> None:
    assert overlaps([billed(1, 0, 100), billed(1, 100, 200)]) == 0
    assert overlaps([billed(1, 0, 100), billed(1, 50, 60), billed(1, 90, 200), billed(1, 200, 210)]) == 2


def event(**changes: Any) -> dict[str, Any]:
    properties = {"session_id": "7", "meter_from_wh": "100", "meter_to_wh": "350", "kwh": "0.250"}
    return {"transaction_id": "steve_tx_7_100_350", "properties": properties | changes}


def test_an_event_is_read_and_one_that_contradicts_itself_is_not() -> None:
    assert billed_range(event()) == BilledRange("steve_tx_7_100_350", 7, 100, 350, 250)
    for changes in ({"session_id": "8"}, {"meter_to_wh": "351"}, {"kwh": "x"}, {"meter_from_wh": None}):
        with pytest.raises(UnreadableEvent):
            billed_range(event(**changes))
    with pytest.raises(UnreadableEvent):
        billed_range(event() | {"transaction_id": "someone-else"})


def test_units_are_whole_watt_hours() -> None:
    assert wh_of_units("11788.32") == 11_788_320
    with pytest.raises(UnreadableEvent):
        wh_of_units("0.0005")
