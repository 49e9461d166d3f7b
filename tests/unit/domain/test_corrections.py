"""Energy that was sold too much is taken back, never twice."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from polaris_common.domain.corrections import Layered, corrections

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _slice(low: int, high: int, layer: int = 0, subscription: str = "a") -> Layered:
    return Layered(layer, low, high, NOON, NOON, subscription)


def _added(slices: list[Layered], begin: int, end: int) -> list[tuple[int, int, int]]:
    return [(each.layer, each.from_wh, each.to_wh) for each in corrections(slices, begin, end)]


def test_nothing_is_corrected_when_the_slices_are_what_the_meter_says() -> None:
    assert _added([_slice(0, 4_000), _slice(4_000, 9_000)], 0, 9_000) == []


def test_energy_beyond_the_stop_is_taken_back_slice_by_slice() -> None:
    assert _added([_slice(0, 4_000), _slice(4_000, 7_000), _slice(7_000, 9_000)], 0, 5_000) == [
        (1, 5_000, 7_000),
        (1, 7_000, 9_000),
    ]


def test_energy_taken_back_is_sold_again_when_the_stop_grows() -> None:
    slices = [_slice(0, 9_000), _slice(5_000, 9_000, layer=1)]
    assert _added(slices, 0, 8_000) == [(2, 5_000, 8_000)]


def test_energy_not_sliced_yet_is_left_to_new_slices() -> None:
    assert _added([_slice(0, 4_000)], 0, 9_000) == []


@given(st.lists(st.integers(min_value=0, max_value=30), min_size=1, max_size=8), st.integers(min_value=1, max_value=30))
def test_after_any_sequence_of_stop_values_each_watt_hour_below_the_last_one_is_sold_exactly_once(
    stops: list[int], first: int
) -> None:
    slices = [_slice(0, first)]
    for stop in stops:
        slices += [_slice(each.from_wh, each.to_wh, each.layer) for each in corrections(slices, 0, stop)]
        high = max(each.to_wh for each in slices)
        if stop > high:
            slices.append(_slice(high, stop))
    for wh in range(max(each.to_wh for each in slices)):
        sold = sum((-1) ** each.layer for each in slices if each.from_wh <= wh < each.to_wh)
        assert sold == (1 if wh < stops[-1] else 0)
