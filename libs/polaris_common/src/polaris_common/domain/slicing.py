"""Cutting a session's register into slices of energy for billing.

A slice is cut at a reading when the slice has grown old or large enough, at boundaries (a local midnight, the start of
a subscription) and at SteVe's stop value. Only readings above everything sliced before count (a high-water mark), in
the order of the station's clock, so lost, repeated or shuffled samples never add or remove a watt-hour: whatever the
readings missed is in the last slice, up to the stop value. At a boundary the register is interpolated between the two
readings around it; the sum stays the meter's.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MAX_POWER_W = 1_000_000
"""No connector delivers more; a reading that would need more is a glitch and is left to the stop value."""

GRACE_WH = 1_000
"""What a register may be ahead of the clock: a station rounds its times."""

BEFORE_BOUNDARY = timedelta(milliseconds=1)
"""A slice that ends at a boundary belongs to what was before it."""


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
    final: bool = False
    at_boundary: bool = False

    @property
    def usage_at(self) -> datetime:
        """The moment the energy counts for: the end, or just before it when the end is a boundary."""
        return self.ended_at - BEFORE_BOUNDARY if self.at_boundary else self.ended_at


@dataclass(frozen=True)
class SlicePolicy:
    """When a slice is cut while the car charges."""

    max_age: timedelta = timedelta(minutes=15)
    max_wh: int = 5_000


def cut(
    begin: Point,
    readings: Iterable[Point],
    stop: Point | None,
    policy: SlicePolicy,
    boundaries: Sequence[datetime] = (),
) -> list[Cut]:
    """The slices from ``begin`` (the end of the last slice, or the session's start) on.

    With ``stop`` the slices reach exactly ``stop.wh``; without it they reach the last cut, and what is left stays open.
    Readings above the stop value are glitches and are ignored.
    """
    cuts: list[Cut] = []
    low = begin
    for point, is_boundary in _path(begin, readings, stop, boundaries):
        is_stop = point is stop
        due = point.at - low.at >= policy.max_age or point.wh - low.wh >= policy.max_wh
        if not (is_stop or is_boundary or due):
            continue
        if point.wh > low.wh:
            end = max(low.at, point.at)
            cuts.append(Cut(low.wh, point.wh, low.at, end, final=is_stop, at_boundary=is_boundary))
            low = point
        elif is_boundary:
            low = point
    return cuts


def _path(
    begin: Point, readings: Iterable[Point], stop: Point | None, boundaries: Sequence[datetime]
) -> Iterator[tuple[Point, bool]]:
    """Every believable point after ``begin`` in order, with interpolated points at the boundaries between them."""
    last = begin
    for point in _rising(begin, readings, stop):
        for boundary in sorted(boundaries):
            if last.at < boundary < point.at:
                last = Point(boundary, _between(last, point, boundary))
                yield last, True
        last = point
        yield point, point.at in boundaries and point is not stop


def _rising(begin: Point, readings: Iterable[Point], stop: Point | None) -> Iterator[Point]:
    high = begin
    for reading in readings:
        beyond_stop = stop is not None and (reading.wh > stop.wh or reading.at > stop.at)
        if reading.wh > high.wh and reading.at >= high.at and not beyond_stop and _plausible(high, reading):
            high = reading
            yield reading
    if stop is not None and stop.wh > begin.wh:
        yield stop


def _between(low: Point, high: Point, moment: datetime) -> int:
    share = (moment - low.at) / (high.at - low.at)
    return low.wh + int((high.wh - low.wh) * share)


def _plausible(low: Point, reading: Point) -> bool:
    seconds = (reading.at - low.at).total_seconds()
    return reading.wh - low.wh <= MAX_POWER_W * seconds / 3600 + GRACE_WH
