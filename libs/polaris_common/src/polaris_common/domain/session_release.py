"""How a session that nobody could believe ends when a person says so; whatever leaves a doubt is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from polaris_common.domain.session_state import MAX_SESSION_WH, REGISTER_JITTER_WH, QuarantineReason
from polaris_common.energy import kwh_text


@dataclass(frozen=True)
class Measured:
    """The register at a moment."""

    wh: int
    at: datetime


@dataclass(frozen=True)
class SetAside:
    """A quarantined session, with its readings in the order of the station's clock."""

    reason: str
    started_at: datetime
    start_wh: int | None
    stop_wh: int | None
    stopped_at: datetime | None
    readings: Sequence[Measured]


class Doubtful(Exception):
    """What the session's energy is cannot be said from this; the text says why."""


def settled_stop(session: SetAside, *, stop_wh: int | None, stopped_at: datetime | None = None) -> Measured:
    """The stop that the session settles with: the person's ``stop_wh``, or (None) what was measured.

    ``stopped_at``: when it ended, where neither SteVe nor a reading says so.

    Raises:
        Doubtful: more than one answer is possible, or none.
    """
    start_wh = session.start_wh
    if start_wh is None:
        raise Doubtful("The start value cannot be read, so no stop value says how much was charged.")
    if stopped_at is not None and session.stopped_at is not None and stopped_at != session.stopped_at:
        raise Doubtful("SteVe knows when the session ended; another end cannot be given.")
    if stop_wh is None:
        stop = _as_measured(session, stopped_at)
    else:
        last_at = session.readings[-1].at if session.readings else None
        ended_at = session.stopped_at or stopped_at or last_at
        if ended_at is None:
            raise Doubtful("When the session ended is not known and must be given.")
        stop = Measured(stop_wh, ended_at)
    if stop.wh < start_wh:
        raise Doubtful(
            f"The session began at {kwh_text(start_wh)} kWh; it cannot have ended at {kwh_text(stop.wh)} kWh."
        )
    if stop_wh is not None and stop.wh - start_wh > MAX_SESSION_WH:
        raise Doubtful(f"More than {kwh_text(MAX_SESSION_WH)} kWh in one session is a typing mistake.")
    if stop.at < session.started_at:
        raise Doubtful("The session cannot have ended before it began.")
    return stop


def _as_measured(session: SetAside, stopped_at: datetime | None) -> Measured:
    if session.stop_wh is not None and session.stopped_at is not None:
        if session.reason == QuarantineReason.REGISTER_RESET:
            raise Doubtful("The register began anew during the session, so its stop value says nothing.")
        return Measured(session.stop_wh, session.stopped_at)
    if not session.readings:
        raise Doubtful("Nothing was measured; a stop value must be given.")
    last = session.readings[-1]
    highest = max(reading.wh for reading in session.readings)
    lowest = min(reading.wh for reading in session.readings)
    if last.wh < highest or lowest < (session.start_wh or 0) - REGISTER_JITTER_WH:
        raise Doubtful("The register went back during the session; a stop value must be given.")
    return Measured(last.wh, session.stopped_at or stopped_at or last.at)
