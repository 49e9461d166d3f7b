"""One step in the life of a reservation."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polaris_common.domain.operation_outcome import UNCERTAIN, Outcome
from polaris_common.domain.reservation_upkeep import Answer, Booked, Do, Session, Step, upkeep
from polaris_common.models import Hold, ReservationStatus

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEAD = timedelta(minutes=5)
BOOKED = Booked("pending", "none", NOON, NOON + timedelta(hours=1))
HELD = replace(BOOKED, status="confirmed", hold="held", held_until=BOOKED.end_at, reservation_id=9)


def _at(booked: Booked, minutes: float, answer: Answer | None = None, session: Session | None = None) -> Step:
    return upkeep(booked, now=NOON + timedelta(minutes=minutes), lead=LEAD, answer=answer, session=session)


@pytest.mark.parametrize(("minutes", "do"), [(-6, Do.NOTHING), (-5, Do.RESERVE), (30, Do.RESERVE), (60, Do.NOTHING)])
def test_the_charger_is_asked_from_shortly_before_the_start_until_the_end(minutes: float, do: Do) -> None:
    assert _at(BOOKED, minutes).do is do


def test_an_accepted_request_confirms_and_keeps_the_chargers_number() -> None:
    asking = _at(BOOKED, -5).booked
    assert _at(asking, -4, Answer(Outcome.ACCEPTED, "Accepted", 9)) == Step(replace(HELD, attempts=0))


@pytest.mark.parametrize("outcome", sorted(UNCERTAIN))
def test_a_request_that_may_have_arrived_is_never_made_again(outcome: Outcome) -> None:
    unknown = _at(_at(BOOKED, -5).booked, -4, Answer(outcome)).booked
    assert [_at(unknown, minutes).do for minutes in range(-4, 60)] == [Do.NOTHING] * 64


@pytest.mark.parametrize("outcome", [Outcome.UNREACHABLE, Outcome.EXPIRED, Outcome.REFUSED])
def test_a_request_that_certainly_did_not_arrive_is_made_again_after_a_growing_pause(outcome: Outcome) -> None:
    booked, pauses, minutes = BOOKED, [], 0.0
    for _ in range(8):
        asked = _at(booked, minutes)
        assert asked.do is Do.RESERVE
        booked = _at(asked.booked, minutes, Answer(outcome)).booked
        assert booked.next_attempt_at is not None
        pause = (booked.next_attempt_at - NOON).total_seconds() / 60 - minutes
        assert _at(booked, minutes + pause * 0.99).do is Do.NOTHING
        pauses.append(pause)
        minutes += pause
    assert pauses[:3] == pytest.approx([0.25, 0.5, 1])
    assert max(pauses) == pytest.approx(5)


@pytest.mark.parametrize("word", ["Occupied", "Faulted", "Unavailable"])
def test_an_obstacle_that_may_go_away_is_final_only_from_the_start_on(word: str) -> None:
    asking = _at(BOOKED, -5).booked
    assert _at(asking, -1, Answer(Outcome.REJECTED, word)).booked.status == "pending"
    refused = _at(asking, 0, Answer(Outcome.REJECTED, word)).booked
    assert (refused.status, refused.reason) == ("conflicted", word.lower())


@pytest.mark.parametrize(
    "answer", [Answer(Outcome.REJECTED, "Rejected"), Answer(Outcome.ERROR, "NotSupported"), Answer(Outcome.EXCEPTION)]
)
def test_a_clear_refusal_is_final_at_once(answer: Answer) -> None:
    assert _at(_at(BOOKED, -5).booked, -4, answer).booked.status == "conflicted"


def test_a_cancelled_one_that_the_charger_holds_is_taken_back_by_its_own_number() -> None:
    assert _at(replace(HELD, status="cancelled"), 1).do is Do.RELEASE
    without = _at(replace(HELD, status="cancelled", reservation_id=None), 1)
    assert (without.do, without.booked.hold) == (Do.NOTHING, "left")


def test_one_that_has_run_out_at_the_charger_needs_no_taking_back() -> None:
    late = _at(replace(HELD, status="cancelled"), 61)
    assert (late.do, late.booked.hold) == (Do.NOTHING, "released")


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.REJECTED, Outcome.REFUSED])
def test_a_charger_that_does_not_know_a_reservation_does_not_hold_it(outcome: Outcome) -> None:
    releasing = replace(HELD, status="cancelled", hold="releasing")
    assert _at(releasing, 2, Answer(outcome)).booked.hold == "released"


def test_taking_back_is_tried_again_only_when_the_request_certainly_did_not_arrive() -> None:
    releasing = replace(HELD, status="cancelled", hold="releasing", attempts=1)
    held = _at(releasing, 2, Answer(Outcome.UNREACHABLE)).booked
    assert (held.hold, _at(held, 2).do, _at(held, 3).do) == ("held", Do.NOTHING, Do.RELEASE)
    left = _at(releasing, 2, Answer(Outcome.UNKNOWN)).booked
    assert [_at(left, minutes).do for minutes in range(2, 70)] == [Do.NOTHING] * 68


def test_a_moved_one_is_taken_back_and_then_made_anew() -> None:
    moved = replace(HELD, end_at=HELD.end_at + timedelta(hours=1))
    releasing = _at(moved, 1)
    assert (releasing.do, releasing.booked.status) == (Do.RELEASE, "pending")
    again = _at(releasing.booked, 2, Answer(Outcome.ACCEPTED))
    assert (again.do, again.booked.held_until) == (Do.RESERVE, moved.end_at)


def test_a_moved_one_that_could_not_be_taken_back_is_made_anew_when_the_old_one_has_run_out() -> None:
    moved = replace(HELD, end_at=HELD.end_at + timedelta(hours=1), reservation_id=None)
    left = _at(moved, 1).booked
    assert (left.hold, _at(left, 59).do) == ("left", Do.NOTHING)
    assert _at(left, 60).do is Do.RESERVE


def test_the_session_decides_whatever_the_charger_said() -> None:
    running, over = Session(4, True, False), Session(4, True, True)
    for hold in ("none", "held", "unknown", "unsupported"):
        booked = replace(HELD, hold=hold)
        assert _at(booked, 5, session=running).booked.status == "active"
        assert _at(booked, 5, session=over).booked.status == "completed"
    assert _at(HELD, 61, session=running).booked.status == "completed"


ANSWERS = st.none() | st.builds(Answer, st.sampled_from(Outcome))
SESSIONS = st.none() | st.builds(Session, st.just(4), st.booleans(), st.booleans())
ANY = st.builds(
    Booked,
    status=st.sampled_from([one.value for one in ReservationStatus]),
    hold=st.sampled_from([one.value for one in Hold]),
    start_at=st.just(NOON),
    end_at=st.just(HELD.end_at),
    held_until=st.just(HELD.end_at),
    blackout=st.booleans(),
    reservation_id=st.none() | st.just(9),
)


@given(booked=ANY, minutes=st.integers(-120, 180), answer=ANSWERS, session=SESSIONS)
def test_whatever_happens_what_has_ended_stays_ended_and_nothing_is_taken_back_by_guess(
    booked: Booked, minutes: int, answer: Answer | None, session: Session | None
) -> None:
    step = _at(booked, minutes, answer, session)
    if booked.status in ("completed", "cancelled", "conflicted", "orphaned"):
        assert step.booked.status == booked.status
        assert step.do is not Do.RESERVE
    if step.do is Do.RELEASE:
        assert step.booked.reservation_id is not None
    if step.do is Do.RESERVE:
        assert not booked.blackout
        assert (step.booked.hold, minutes < 60) == ("asking", True)
    assert step.booked.status in set(ReservationStatus)
    assert step.booked.hold in set(Hold)
