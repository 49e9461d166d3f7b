"""What SteVe shows decides where a session stands."""

from datetime import UTC, datetime, timedelta

import pytest

from polaris_common.domain.session_state import (
    Limits,
    Observation,
    OpenSession,
    QuarantineReason,
    RegisterSpan,
    State,
    Verdict,
    judge,
    zombie,
)

STOPPED = datetime(2026, 1, 1, tzinfo=UTC)


def _seen(start: str | None = "100", stop: str | None = None, actor: str | None = "station") -> Observation:
    return Observation(start, None if stop is None else STOPPED, stop, actor if stop is not None else None)


def test_without_a_stop_a_session_is_open() -> None:
    assert judge(_seen(), settled_by_time=False) == Verdict(State.OPEN, 100, None)


def test_only_the_stations_own_stop_settles_at_once() -> None:
    assert judge(_seen(stop="1100"), settled_by_time=False) == Verdict(State.SETTLED, 100, 1100)
    assert judge(_seen(stop="1100", actor="manual"), settled_by_time=False).state == State.STOPPED


def test_a_manual_stop_settles_when_it_has_stood_for_the_settling_time() -> None:
    assert judge(_seen(stop="1100", actor="manual"), settled_by_time=True).state == State.SETTLED


def test_a_stop_without_an_actor_comes_from_an_older_steve_and_is_final() -> None:
    assert judge(_seen(stop="1100", actor=None), settled_by_time=False).state == State.SETTLED


def test_zero_energy_is_a_settled_session() -> None:
    assert judge(_seen(stop="100"), settled_by_time=False) == Verdict(State.SETTLED, 100, 100)


@pytest.mark.parametrize(
    ("start", "stop", "reason"),
    [
        ("NaN", "1100", QuarantineReason.START_UNREADABLE),
        (None, "1100", QuarantineReason.START_UNREADABLE),
        ("100", "1e9", QuarantineReason.STOP_UNREADABLE),
        ("100", "", QuarantineReason.STOP_UNREADABLE),
        ("100", "99", QuarantineReason.NEGATIVE),
        ("100", "1000101", QuarantineReason.TOO_MUCH),
    ],
)
def test_what_cannot_be_believed_is_quarantined_with_its_reason(
    start: str | None, stop: str, reason: QuarantineReason
) -> None:
    verdict = judge(_seen(start, stop), settled_by_time=False)
    assert (verdict.state, verdict.quarantine_reason) == (State.QUARANTINED, reason)


def _lasting(minutes: float, wh: int, *, readings: RegisterSpan | None = None) -> Observation:
    return Observation("0", STOPPED, str(wh), "station", STOPPED - timedelta(minutes=minutes), readings)


@pytest.mark.parametrize(
    ("minutes", "wh", "state"),
    [
        (60, 541_666, State.SETTLED),
        (60, 541_667, State.QUARANTINED),
        (0, 41_666, State.SETTLED),
        (0, 41_667, State.QUARANTINED),
        (-600, 41_667, State.QUARANTINED),
    ],
)
def test_energy_must_fit_into_the_time_at_the_highest_power_with_five_minutes_for_odd_clocks(
    minutes: float, wh: int, state: State
) -> None:
    assert judge(_lasting(minutes, wh), settled_by_time=False).state == state


def test_the_highest_power_can_be_set() -> None:
    verdict = judge(_lasting(60, 20_000), settled_by_time=False, limits=Limits(max_power_w=11_000))
    assert verdict.quarantine_reason is QuarantineReason.TOO_FAST


@pytest.mark.parametrize(
    ("first", "lowest", "reset"),
    [(5_100, 200, True), (5_100, 4_950, False), (100, 100, False), (4_500, 3_999, True)],
)
def test_a_register_that_counted_on_and_then_fell_below_its_start_was_reset(
    first: int, lowest: int, reset: bool
) -> None:
    seen = Observation("5000", STOPPED, "6000", "station", None, RegisterSpan(first, lowest))
    assert (judge(seen, settled_by_time=False).quarantine_reason is QuarantineReason.REGISTER_RESET) == reset


def test_an_open_session_whose_connector_went_on_is_a_zombie_whatever_was_heard() -> None:
    session = OpenSession(known_at=STOPPED, last_reading_at=STOPPED, superseded=True)
    assert zombie(session, now=STOPPED) is QuarantineReason.SUPERSEDED


@pytest.mark.parametrize(
    ("known", "heard", "expected"),
    [(47, None, None), (49, None, QuarantineReason.SILENT), (99, 47, None), (99, 49, QuarantineReason.SILENT)],
)
def test_an_open_session_is_a_zombie_when_nothing_was_heard_of_it_for_two_days(
    known: int, heard: int | None, expected: QuarantineReason | None
) -> None:
    last = None if heard is None else STOPPED - timedelta(hours=heard)
    session = OpenSession(known_at=STOPPED - timedelta(hours=known), last_reading_at=last, superseded=False)
    assert zombie(session, now=STOPPED) is expected
