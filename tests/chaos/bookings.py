"""Which reservations may be made, moved and cancelled: said a second time, in the simplest way, without SQL."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import combinations, permutations
from typing import Protocol

BLOCKING = ("pending", "confirmed", "active")
STATUSES = (*BLOCKING, "completed", "cancelled", "conflicted", "orphaned")


@dataclass(frozen=True, order=True)
class Booking:
    """One row of ``reservations``."""

    box: str
    connector: int
    start: datetime
    end: datetime
    status: str = "pending"
    blackout: bool = False

    def keeps_away(self, other: "Booking") -> bool:
        """Both count, at the same plug, at the same time."""
        plugs = self.connector == other.connector or 0 in (self.connector, other.connector)
        return (
            self.status in BLOCKING
            and other.status in BLOCKING
            and self.box.lower() == other.box.lower()
            and plugs
            and self.start < other.end
            and other.start < self.end
        )


Bookings = Mapping[int, Booking]
"""By id; what is not written yet has a negative one."""


class Attempt(Protocol):
    """Something that somebody tries."""

    def on(self, bookings: Bookings, now: datetime) -> tuple[str, Bookings]:
        """What comes of it in words, and the bookings afterwards."""
        ...


@dataclass(frozen=True)
class Book:
    """Make a reservation; ``raw``: past our code, as anybody with a database client can."""

    number: int
    """A negative id."""
    booking: Booking
    raw: bool = False

    def on(self, bookings: Bookings, now: datetime) -> tuple[str, Bookings]:
        """See ``Attempt``."""
        return _written(bookings, self.number, self.booking, now=None if self.raw else now)


@dataclass(frozen=True)
class Move:
    """Move, shorten or extend a reservation."""

    number: int
    start: datetime
    end: datetime

    def on(self, bookings: Bookings, now: datetime) -> tuple[str, Bookings]:
        """See ``Attempt``."""
        was = bookings[self.number]
        if was.status not in ("pending", "confirmed"):
            return "ReservationClosed", bookings
        return _written(bookings, self.number, replace(was, start=self.start, end=self.end), now=now)


@dataclass(frozen=True)
class Cancel:
    """Cancel a reservation."""

    number: int

    def on(self, bookings: Bookings, now: datetime) -> tuple[str, Bookings]:
        """See ``Attempt``."""
        was = bookings[self.number]
        if was.status == "cancelled":
            return "done", bookings
        if was.status not in (BLOCKING if was.blackout else BLOCKING[:2]):
            return "ReservationClosed", bookings
        return "done", {**bookings, self.number: replace(was, status="cancelled")}


@dataclass(frozen=True)
class Overwrite:
    """Change a row past our code: revive it, widen it, put it on another plug."""

    number: int
    booking: Booking

    def on(self, bookings: Bookings, now: datetime) -> tuple[str, Bookings]:
        """See ``Attempt``."""
        return _written(bookings, self.number, self.booking, now=None)


def outcomes(bookings: Bookings, attempts: list[Attempt], now: datetime) -> Iterator[tuple[list[str], Bookings]]:
    """What may come of attempts that are made at once: as if they had been made one after the other, in some order."""
    for order in permutations(range(len(attempts))):
        words, after = [""] * len(attempts), bookings
        for index in order:
            words[index], after = attempts[index].on(after, now)
        yield words, after


def overlaps(bookings: Bookings) -> list[tuple[Booking, Booking]]:
    """The pairs that nobody may ever see."""
    return [(one, other) for one, other in combinations(bookings.values(), 2) if one.keeps_away(other)]


def _written(bookings: Bookings, number: int, wanted: Booking, *, now: datetime | None) -> tuple[str, Bookings]:
    """``now``: our code also minds the past; the database does not."""
    if wanted.start >= wanted.end or (now is not None and wanted.start < now):
        return "WindowInvalid", bookings
    if any(wanted.keeps_away(other) for known, other in bookings.items() if known != number):
        return "ReservationConflict", bookings
    return "done", {**bookings, number: wanted}
