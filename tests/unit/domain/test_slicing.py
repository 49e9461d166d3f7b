"""Slices conserve energy whatever the readings look like."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from polaris_common.domain.slicing import Cut, Point, SlicePolicy, cut

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = SlicePolicy()


def _at(minutes: float, wh: int) -> Point:
    return Point(START + timedelta(minutes=minutes), wh)


def _ranges(cuts: list[Cut]) -> list[tuple[int, int, bool]]:
    return [(each.from_wh, each.to_wh, each.final) for each in cuts]


def test_a_slice_is_cut_when_it_is_old_enough() -> None:
    assert _ranges(cut(_at(0, 100), [_at(5, 600), _at(10, 1100), _at(15, 1600), _at(20, 2100)], None, POLICY)) == [
        (100, 1600, False)
    ]


def test_a_slice_is_cut_when_it_is_large_enough() -> None:
    assert _ranges(cut(_at(0, 0), [_at(2, 3000), _at(4, 6000)], None, POLICY)) == [(0, 6000, False)]


def test_the_stop_value_makes_the_last_slice_exact() -> None:
    assert _ranges(cut(_at(0, 100), [_at(15, 1600)], _at(20, 1999), POLICY)) == [(100, 1600, False), (1600, 1999, True)]


def test_a_session_without_readings_is_one_slice() -> None:
    assert _ranges(cut(_at(0, 100), [], _at(60, 7100), POLICY)) == [(100, 7100, True)]


def test_a_step_back_neither_bills_again_nor_moves_the_mark() -> None:
    readings = [_at(15, 2000), _at(16, 1960), _at(31, 4000)]
    assert _ranges(cut(_at(0, 0), readings, None, POLICY)) == [(0, 2000, False), (2000, 4000, False)]


def test_a_glitch_far_above_any_power_is_left_to_the_stop_value() -> None:
    readings = [_at(15, 99_999_999), _at(16, 2000)]
    assert _ranges(cut(_at(0, 0), readings, _at(30, 3000), POLICY)) == [(0, 2000, False), (2000, 3000, True)]


def test_readings_beyond_the_stop_do_not_count() -> None:
    assert _ranges(cut(_at(0, 0), [_at(15, 2000), _at(90, 2500)], _at(30, 1900), POLICY)) == [(0, 1900, True)]


def test_nothing_is_cut_when_nothing_was_charged() -> None:
    assert cut(_at(0, 500), [_at(15, 500)], _at(30, 500), POLICY) == []


def test_a_boundary_splits_the_energy_between_the_readings_around_it() -> None:
    midnight = _at(20, 0).at
    cuts = cut(_at(0, 0), [_at(10, 1_000), _at(30, 3_001)], _at(60, 4_000), POLICY, [midnight])
    assert _ranges(cuts) == [(0, 2_000, False), (2_000, 4_000, True)]
    assert cuts[0].ended_at == cuts[1].started_at == midnight
    assert cuts[0].usage_at == midnight - timedelta(milliseconds=1)


def test_a_boundary_without_energy_before_it_makes_no_slice_but_is_not_straddled() -> None:
    midnight = _at(20, 0).at
    cuts = cut(_at(0, 500), [_at(20, 500)], _at(60, 4_000), POLICY, [midnight])
    assert all(each.started_at >= midnight or each.ended_at <= midnight for each in cuts)


readings = st.lists(
    st.builds(_at, st.floats(min_value=-60, max_value=600), st.integers(min_value=0, max_value=60_000)), max_size=40
)


@given(readings, st.integers(min_value=0, max_value=50_000))
def test_slices_are_contiguous_and_add_up_to_the_stop_value_for_any_readings(points: list[Point], energy: int) -> None:
    ordered = sorted(points, key=lambda point: point.at)
    boundaries = [_at(60, 0).at, _at(240, 0).at]
    cuts = cut(_at(0, 1_000), ordered, _at(300, 1_000 + energy), POLICY, boundaries)
    edges = [1_000, *(each.to_wh for each in cuts)]
    assert [each.from_wh for each in cuts] == edges[:-1]
    assert edges[-1] == 1_000 + energy
    assert all(each.ended_at >= each.started_at for each in cuts)
    assert not any(each.started_at < boundary < each.ended_at for each in cuts for boundary in boundaries)


@given(readings, st.integers(min_value=0, max_value=40), st.integers(min_value=50_000, max_value=90_000))
def test_billing_live_in_steps_or_all_at_once_comes_to_the_same_energy(
    points: list[Point], split: int, stop: int
) -> None:
    ordered = sorted(points, key=lambda point: point.at)
    live = cut(_at(0, 0), ordered[:split], None, POLICY)
    begin = Point(live[-1].ended_at, live[-1].to_wh) if live else _at(0, 0)
    rest = cut(begin, ordered, _at(600, stop), POLICY) if begin.wh <= stop else []
    if begin.wh <= stop:
        assert sum(each.to_wh - each.from_wh for each in [*live, *rest]) == stop
