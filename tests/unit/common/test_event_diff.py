"""Two lists of events compared by id."""

from typing import Any

from polaris_common.books.event_diff import EventValue, Stored, diff_events, sent_value, stored

OURS = {"a": EventValue(700, 1_000), "b": EventValue(-300, 2_000)}


def _listed(*events: tuple[str, int, int]) -> list[Stored]:
    return [Stored(name, EventValue(wh, at)) for name, wh, at in events]


def test_lists_that_agree_differ_in_nothing() -> None:
    diff = diff_events(OURS, _listed(("b", -300, 2_000), ("a", 700, 1_000)))
    assert (diff.missing, diff.extra, diff.differing) == ({}, {}, {})


def test_each_way_to_differ_is_told_apart() -> None:
    diff = diff_events(OURS, _listed(("b", -200, 2_000), ("c", 50, 1), ("d", 60, 1)), known={"d"})
    assert (diff.missing, diff.extra, diff.differing) == ({"a": 700}, {"c": -50}, {"b": -100})


def test_of_several_arrivals_at_one_time_the_newest_counts() -> None:
    assert diff_events(OURS, _listed(("a", 700, 1_000), ("a", 1, 1_000), ("b", -300, 2_000))).differing == {}
    assert diff_events(OURS, _listed(("a", 1, 1_000), ("a", 700, 1_000), ("b", -300, 2_000))).differing == {"a": 699}


def test_an_id_at_a_second_time_is_billed_once_more() -> None:
    diff = diff_events(OURS, _listed(("a", 700, 5), ("a", 700, 1_000), ("b", -300, 2_000)))
    assert (diff.extra, diff.differing) == ({"a": -700}, {})


def test_an_event_at_another_time_than_it_was_sent_with_differs() -> None:
    diff = diff_events(OURS, _listed(("a", 700, 999), ("b", -300, 2_000)))
    assert (diff.missing, diff.extra, diff.differing) == ({}, {}, {"a": 0})


def _raw(**fields: Any) -> dict[str, Any]:
    return {"transaction_id": "a", "timestamp": "1970-01-01T00:00:01.500Z", "properties": {"value": "0.7"}, **fields}


def test_lagos_events_are_read_tolerantly() -> None:
    assert stored(_raw()) == Stored("a", EventValue(700, 1_500))
    assert stored(_raw(properties={"value": "much"})) == Stored("a", EventValue(0, 1_500))
    assert stored(_raw(properties=None, timestamp=None)) == Stored("a", EventValue(0, 0))
    assert stored(_raw(transaction_id=None)) is None


def test_our_timestamps_are_read_to_the_millisecond() -> None:
    assert sent_value(5, "1700000000.123") == EventValue(5, 1_700_000_000_123)
    assert sent_value(5, "yesterday") == EventValue(5, 0)
