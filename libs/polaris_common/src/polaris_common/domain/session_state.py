"""From what SteVe shows to where a session stands. Only the station's own stop value settles a session at once."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from polaris_common.energy import EnergyError, parse_wh

MAX_SESSION_WH = 1_000_000
"""More than a megawatt-hour in one session is not believable."""


class State(StrEnum):
    """As ``models.SessionState``; this module knows no database."""

    OPEN = "open"
    STOPPED = "stopped"
    SETTLED = "settled"
    QUARANTINED = "quarantined"


class QuarantineReason(StrEnum):
    """Why a session is not believable."""

    START_UNREADABLE = "start_value_unreadable"
    STOP_UNREADABLE = "stop_value_unreadable"
    NEGATIVE = "negative_energy"
    TOO_MUCH = "too_much_energy"


@dataclass(frozen=True)
class Observation:
    """What SteVe says about one transaction right now."""

    start_value: str | None
    stop_timestamp: datetime | None
    stop_value: str | None
    stop_actor: str | None


@dataclass(frozen=True)
class Verdict:
    """What the observation means."""

    state: State
    start_wh: int | None
    stop_wh: int | None
    quarantine_reason: QuarantineReason | None = None


def judge(seen: Observation, *, settled_by_time: bool) -> Verdict:
    """The state that ``seen`` supports.

    ``settled_by_time``: a manual stop has stood unchanged for the settling time. A stop without an actor (older SteVe)
    counts as the station's.
    """
    start = _read(seen.start_value)
    if seen.stop_timestamp is None:
        return _open(start)
    stop = _read(seen.stop_value)
    if start is None:
        return Verdict(State.QUARANTINED, None, stop, QuarantineReason.START_UNREADABLE)
    if stop is None:
        return Verdict(State.QUARANTINED, start, None, QuarantineReason.STOP_UNREADABLE)
    if stop < start:
        return Verdict(State.QUARANTINED, start, stop, QuarantineReason.NEGATIVE)
    if stop - start > MAX_SESSION_WH:
        return Verdict(State.QUARANTINED, start, stop, QuarantineReason.TOO_MUCH)
    final = seen.stop_actor != "manual" or settled_by_time
    return Verdict(State.SETTLED if final else State.STOPPED, start, stop)


def _open(start: int | None) -> Verdict:
    if start is None:
        return Verdict(State.QUARANTINED, None, None, QuarantineReason.START_UNREADABLE)
    return Verdict(State.OPEN, start, None)


def _read(text: str | None) -> int | None:
    try:
        return parse_wh(text)
    except EnergyError:
        return None
