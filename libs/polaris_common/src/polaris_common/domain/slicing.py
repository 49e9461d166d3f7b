"""Cutting a session's register into slices of energy for billing.

A slice is cut at a reading when the slice has grown old or large enough, and at SteVe's stop value. Only readings above
everything sliced before count (a high-water mark), in the order of the station's clock, so lost, repeated or shuffled
samples never add or remove a watt-hour: whatever the readings missed is in the last slice, up to the stop value.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

MAX_POWER_W = 1_000_000
"""No connector delivers more; a reading that would need more is a glitch and is left to the stop value."""

GRACE_WH = 1_000
"""What a register may be ahead of the clock: a station rounds its times."""


@dataclass(frozen=True)
class Point:
    """The register at a moment."""

    at: datetime
    wh: int


@dataclass(frozen=True)
class Cut:
    """One slice to be: ``[from_wh, to_wh)`` between two moments."""

    from_wh: int
    to_wh: int
    started_at: datetime
    ended_at: datetime
    final: bool


@dataclass(frozen=True)
class SlicePolicy:
    """When a slice is cut while the car charges."""

    max_age: timedelta = timedelta(minutes=15)
    max_wh: int = 5_000


def cut(begin: Point, readings: Iterable[Point], stop: Point | None, policy: SlicePolicy) -> list[Cut]:
    """The slices from ``begin`` (the end of the last slice, or the session's start) on.

    With ``stop`` the slices reach exactly ``stop.wh``; without it they reach the last cut, and what is left stays open.
    Readings above the stop value are glitches and are ignored.
    """
    cuts: list[Cut] = []
    low = high = begin
    for reading in readings:
        beyond_stop = stop is not None and (reading.wh > stop.wh or reading.at > stop.at)
        if reading.wh <= high.wh or reading.at < low.at or beyond_stop or not _plausible(low, reading):
            continue
        high = reading
        if high.at - low.at >= policy.max_age or high.wh - low.wh >= policy.max_wh:
            cuts.append(Cut(low.wh, high.wh, low.at, high.at, final=False))
            low = high
    if stop is None:
        return cuts
    if stop.wh > low.wh:
        cuts.append(Cut(low.wh, stop.wh, low.at, max(low.at, stop.at), final=True))
    return cuts


def _plausible(low: Point, reading: Point) -> bool:
    seconds = (reading.at - low.at).total_seconds()
    return reading.wh - low.wh <= MAX_POWER_W * seconds / 3600 + GRACE_WH
