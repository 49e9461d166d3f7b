"""From what SteVe shows to where a session stands. Only the station's own stop value settles a session at once.

``open → stopped → settled``; ``quarantined`` is where a session waits that nobody can believe, or that will never end
by itself. A person looks at those; they are never billed by guess, and a believable stop takes them out again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from polaris_common.energy import EnergyError, parse_wh

MAX_SESSION_WH = 1_000_000
"""More than a megawatt-hour in one session is not believable."""

MAX_POWER_W = 500_000
"""Faster than the fastest public car chargers is not believable."""

CLOCK_GRACE = timedelta(minutes=5)
"""How far the two times of a session may be off: stations round them, and set their clock in between."""

REGISTER_JITTER_WH = 1_000
"""A register that goes back by less than this has not been reset."""

SILENT_AFTER = timedelta(hours=48)
"""An open session of which nothing was heard for so long is a zombie."""


class State(StrEnum):
    """Where a charging session stands; ``settled`` and ``quarantined`` are ends."""

    OPEN = "open"
    STOPPED = "stopped"
    """A stop value is known but may still change: SteVe has only a manual stop."""
    SETTLED = "settled"
    QUARANTINED = "quarantined"
    """Not believable; a person must look. Never billed by guess."""


class QuarantineReason(StrEnum):
    """Why a session is not believable, or will not end by itself."""

    START_UNREADABLE = "start_value_unreadable"
    STOP_UNREADABLE = "stop_value_unreadable"
    NEGATIVE = "negative_energy"
    REGISTER_RESET = "register_reset"
    TOO_MUCH = "too_much_energy"
    TOO_FAST = "over_max_power"
    SUPERSEDED = "zombie_superseded"
    """Still open, but its connector has begun another session."""
    SILENT = "zombie_silent"
    """Still open, but nothing was heard of it for too long."""
    VANISHED = "vanished_in_steve"
    """SteVe no longer has it, so no stop will ever come."""


ZOMBIES = frozenset({QuarantineReason.SUPERSEDED, QuarantineReason.SILENT})


@dataclass(frozen=True)
class RegisterSpan:
    """What the readings of a session say: the first of them by the station's clock, and the lowest."""

    first_wh: int
    lowest_wh: int


@dataclass(frozen=True)
class Observation:
    """What SteVe says about one transaction right now, with what its readings say."""

    start_value: str | None
    stop_timestamp: datetime | None
    stop_value: str | None
    stop_actor: str | None
    start_timestamp: datetime | None = None
    readings: RegisterSpan | None = None


@dataclass(frozen=True)
class Limits:
    """What is believable."""

    max_session_wh: int = MAX_SESSION_WH
    max_power_w: int = MAX_POWER_W


@dataclass(frozen=True)
class Verdict:
    """What the observation means."""

    state: State
    start_wh: int | None
    stop_wh: int | None
    quarantine_reason: QuarantineReason | None = None


def judge(seen: Observation, *, settled_by_time: bool, limits: Limits | None = None) -> Verdict:
    """The state that ``seen`` supports.

    ``settled_by_time``: a manual stop has stood unchanged for the settling time. A stop without an actor (older SteVe)
    counts as the station's.
    """
    start = read_register(seen.start_value)
    if seen.stop_timestamp is None:
        return _open(start)
    stop = read_register(seen.stop_value)
    if start is None:
        return Verdict(State.QUARANTINED, None, stop, QuarantineReason.START_UNREADABLE)
    if stop is None:
        return Verdict(State.QUARANTINED, start, None, QuarantineReason.STOP_UNREADABLE)
    reason = _implausible(seen, start, stop, limits or Limits())
    if reason is not None:
        return Verdict(State.QUARANTINED, start, stop, reason)
    final = seen.stop_actor != "manual" or settled_by_time
    return Verdict(State.SETTLED if final else State.STOPPED, start, stop)


@dataclass(frozen=True)
class OpenSession:
    """What is known of a session that has no stop."""

    known_at: datetime
    """When we learned of it: a start that a station uploads late is not silent because it is old."""
    last_reading_at: datetime | None
    """When its last reading arrived."""
    superseded: bool
    """The connector has begun a later session."""


def zombie(session: OpenSession, *, now: datetime, silent_after: timedelta = SILENT_AFTER) -> QuarantineReason | None:
    """Why an open session will not end by itself, or None while it may."""
    if session.superseded:
        return QuarantineReason.SUPERSEDED
    heard_at = max(session.known_at, session.last_reading_at or session.known_at)
    return QuarantineReason.SILENT if now - heard_at > silent_after else None


def _open(start: int | None) -> Verdict:
    if start is None:
        return Verdict(State.QUARANTINED, None, None, QuarantineReason.START_UNREADABLE)
    return Verdict(State.OPEN, start, None)


def _implausible(seen: Observation, start: int, stop: int, limits: Limits) -> QuarantineReason | None:
    if _was_reset(start, seen.readings):
        return QuarantineReason.REGISTER_RESET
    if stop < start:
        return QuarantineReason.NEGATIVE
    if stop - start > limits.max_session_wh:
        return QuarantineReason.TOO_MUCH
    if stop - start > _most_wh(seen, limits):
        return QuarantineReason.TOO_FAST
    return None


def _was_reset(start: int, readings: RegisterSpan | None) -> bool:
    """The register counted on from the start value, then fell below it.

    Readings that were below it from the first on are counted on another scale, which says nothing.
    """
    if readings is None:
        return False
    counted_on = readings.first_wh >= start - REGISTER_JITTER_WH
    return counted_on and readings.lowest_wh < start - REGISTER_JITTER_WH


def _most_wh(seen: Observation, limits: Limits) -> int:
    """The most energy that fits between start and stop."""
    if seen.start_timestamp is None or seen.stop_timestamp is None:
        return limits.max_session_wh
    lasted = max(seen.stop_timestamp - seen.start_timestamp, timedelta()) + CLOCK_GRACE
    return limits.max_power_w * int(lasted.total_seconds()) // 3600


def read_register(text: str | None) -> int | None:
    """The Wh that SteVe's text says; None when it cannot be read."""
    try:
        return parse_wh(text)
    except EnergyError:
        return None
