"""What SteVe shows decides where a session stands."""

from datetime import UTC, datetime

import pytest

from polaris_common.domain.session_state import Observation, QuarantineReason, State, Verdict, judge

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
