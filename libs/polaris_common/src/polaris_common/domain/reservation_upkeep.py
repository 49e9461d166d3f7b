"""What has to happen to a reservation now, from what is known of it, its charger's answer and its driver's session.

The charger is asked shortly before the start and not at booking time: from ReserveNow on it refuses everybody else
(OCPP 1.6 §5.13). A request that may have reached it is never repeated.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from polaris_common.domain.operation_outcome import NOT_SENT, UNCERTAIN, Outcome

MAX_PAUSE = timedelta(minutes=5)
BASE_PAUSE = timedelta(seconds=15)

ENDED = frozenset({"completed", "cancelled", "conflicted", "orphaned"})
_MAY_CHANGE = frozenset({"occupied", "faulted", "unavailable"})
"""Refusals that another minute may change (OCPP 1.6 §7.36); ``Rejected`` is final."""


class Do(StrEnum):
    """What to send to the charger."""

    NOTHING = "nothing"
    RESERVE = "reserve"
    RELEASE = "release"


@dataclass(frozen=True)
class Answer:
    """The operation that a reservation waited for has ended."""

    outcome: Outcome
    status: str | None = None
    reservation_id: int | None = None


@dataclass(frozen=True)
class Session:
    """The session that uses the reservation."""

    id: int
    same_tag: bool
    """Begun with the very tag it was made for: the charger has taken it as used."""
    ended: bool


@dataclass(frozen=True)
class Booked:
    """A reservation as it stands."""

    status: str
    hold: str
    start_at: datetime
    end_at: datetime
    blackout: bool = False
    held_until: datetime | None = None
    reservation_id: int | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    reason: str | None = None
    session_id: int | None = None


@dataclass(frozen=True)
class Step:
    """The reservation as it is to be, and what to send."""

    booked: Booked
    do: Do = Do.NOTHING


def upkeep(
    booked: Booked, *, now: datetime, lead: timedelta, answer: Answer | None = None, session: Session | None = None
) -> Step:
    """One step. ``lead``: so long before the start the charger is asked; ``answer``: of the operation under way."""
    if booked.hold in ("asking", "releasing"):
        if answer is None:
            return Step(_lived(booked, now, session))
        booked = _heard(booked, answer, now)
    booked = _run_out(_lived(booked, now, session), now)
    if booked.hold == "held" and not _is_to_be_held(booked, now, lead):
        return _let_go(booked, now, session)
    due = booked.next_attempt_at is None or booked.next_attempt_at <= now
    if booked.hold == "none" and due and not booked.blackout and _is_to_be_held(booked, now, lead):
        asking = replace(booked, hold="asking", attempts=booked.attempts + 1, held_until=booked.end_at)
        return Step(asking, Do.RESERVE)
    return Step(booked)


def _is_to_be_held(booked: Booked, now: datetime, lead: timedelta) -> bool:
    """The charger should keep the connector, until exactly the end that is booked now."""
    if booked.status not in ("pending", "confirmed") or not booked.start_at - lead <= now < booked.end_at:
        return False
    return booked.hold != "held" or booked.held_until == booked.end_at


def _run_out(booked: Booked, now: datetime) -> Booked:
    """The expiry that the charger was given has passed: it holds nothing any more."""
    if booked.hold not in ("held", "unknown", "left") or booked.held_until is None or booked.held_until > now:
        return booked
    if booked.status in ("pending", "confirmed"):
        return replace(booked, hold="none", status="pending", held_until=None, reservation_id=None)
    return replace(booked, hold="released")


def _let_go(booked: Booked, now: datetime, session: Session | None) -> Step:
    """Take the charger's reservation back; without its own number nobody can, and a guess might hit another's."""
    if booked.status in ("active", "completed") and session is not None and session.same_tag:
        return Step(replace(booked, hold="released"))
    if booked.status == "confirmed":
        booked = replace(booked, status="pending")
    if booked.next_attempt_at is not None and booked.next_attempt_at > now:
        return Step(booked)
    if booked.reservation_id is None:
        return Step(replace(booked, hold="left"))
    return Step(replace(booked, hold="releasing", attempts=booked.attempts + 1), Do.RELEASE)


def _lived(booked: Booked, now: datetime, session: Session | None) -> Booked:
    """What time and the driver have made of it."""
    if booked.status in ENDED:
        return booked
    if booked.blackout:
        if now >= booked.end_at:
            return replace(booked, status="completed")
        return replace(booked, status="active") if now >= booked.start_at else booked
    if session is not None:
        over = session.ended or now >= booked.end_at
        return replace(booked, status="completed" if over else "active", session_id=session.id, reason=None)
    if now >= booked.end_at:
        return replace(booked, status="orphaned", reason="no_show")
    return booked


def _heard(booked: Booked, answer: Answer, now: datetime) -> Booked:
    if booked.hold == "releasing":
        return _heard_of_release(booked, answer, now)
    outcome = answer.outcome
    if outcome is Outcome.ACCEPTED:
        status = "confirmed" if booked.status == "pending" else booked.status
        return replace(
            booked, hold="held", status=status, reservation_id=answer.reservation_id, attempts=0, next_attempt_at=None
        )
    if outcome in UNCERTAIN:
        return replace(booked, hold="unknown")
    if outcome is Outcome.UNSUPPORTED:
        return replace(booked, hold="unsupported")
    if outcome in NOT_SENT or outcome is Outcome.REFUSED or (_may_change(answer) and now < booked.start_at):
        return replace(booked, hold="none", held_until=None, next_attempt_at=_later(booked, now))
    status = "conflicted" if booked.status == "pending" else booked.status
    reason = (answer.status or outcome.value).lower() if status == "conflicted" else booked.reason
    return replace(booked, hold="refused", status=status, reason=reason)


def _heard_of_release(booked: Booked, answer: Answer, now: datetime) -> Booked:
    """A charger that knows no such reservation does not hold it. Moved ones may be made again."""
    if answer.outcome in NOT_SENT:
        return replace(booked, hold="held", next_attempt_at=_later(booked, now))
    if answer.outcome in (Outcome.ACCEPTED, Outcome.REJECTED, Outcome.REFUSED):
        if booked.status in ENDED or booked.status == "active":
            return replace(booked, hold="released")
        return replace(
            booked,
            hold="none",
            status="pending",
            held_until=None,
            reservation_id=None,
            attempts=0,
            next_attempt_at=None,
        )
    return replace(booked, hold="left")


def _may_change(answer: Answer) -> bool:
    return answer.outcome is Outcome.REJECTED and (answer.status or "").lower() in _MAY_CHANGE


def _later(booked: Booked, now: datetime) -> datetime:
    doublings = min(max(booked.attempts - 1, 0), 10)
    return now + min(BASE_PAUSE * (1 << doublings), MAX_PAUSE)
