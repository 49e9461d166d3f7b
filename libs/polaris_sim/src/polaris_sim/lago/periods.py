"""Billing periods in the customer's time zone."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from polaris_sim.lago.wire import SECOND, micros, moment_of

_HOUR = 3600 * SECOND
_BILLING_MINUTE = 10 * 60 * SECOND


class Interval(StrEnum):
    """How often a plan bills."""

    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    SEMIANNUAL = "semiannual"
    YEARLY = "yearly"


_MONTHS = {Interval.MONTHLY: 1, Interval.QUARTERLY: 3, Interval.SEMIANNUAL: 6, Interval.YEARLY: 12}
PERIODS_PER_YEAR = {
    Interval.WEEKLY: 52,
    Interval.MONTHLY: 12,
    Interval.QUARTERLY: 4,
    Interval.SEMIANNUAL: 2,
    Interval.YEARLY: 1,
}


class BillingTime(StrEnum):
    """Whether periods follow the calendar or the day the subscription began."""

    CALENDAR = "calendar"
    ANNIVERSARY = "anniversary"


@dataclass(frozen=True)
class Period:
    """A stretch of time in microseconds; ``end`` does not belong to it."""

    start: int
    end: int

    @property
    def days(self) -> int:
        """Length in days, rounded (daylight saving makes some periods an hour longer or shorter)."""
        return round((self.end - self.start) / (24 * _HOUR))

    def clipped(self, *, since: int | None = None, until: int | None = None) -> "Period":
        """The part of the period not before ``since`` and before ``until``."""
        start = self.start if since is None else max(self.start, since)
        end = self.end if until is None else min(self.end, until)
        return Period(start, max(start, end))


def period_containing(time: int, interval: Interval, billing_time: BillingTime, anchor: int, zone: ZoneInfo) -> Period:
    """The billing period that ``time`` falls into; ``anchor`` is when the subscription began."""
    day = moment_of(time).astimezone(zone).date()
    anchor_day = moment_of(anchor).astimezone(zone).date()
    if billing_time is BillingTime.CALENDAR:
        anchor_day = date(2001, 1, 1)  # a Monday and the first day of a year: every calendar interval starts on it
    if interval is Interval.WEEKLY:
        start = day - timedelta(days=(day - anchor_day).days % 7)
        return Period(_midnight(start, zone), _midnight(start + timedelta(days=7), zone))
    step = _MONTHS[interval]
    months = ((day.year - anchor_day.year) * 12 + day.month - anchor_day.month) // step * step
    if _add_months(anchor_day, months) > day:
        months -= step
    return Period(
        _midnight(_add_months(anchor_day, months), zone), _midnight(_add_months(anchor_day, months + step), zone)
    )


def billing_run_after(time: int) -> int:
    """When Lago's hourly biller (ten past, UTC) next runs at or after ``time``."""
    run = time - time % _HOUR + _BILLING_MINUTE
    return run if run >= time else run + _HOUR


def local_date(time: int, zone: ZoneInfo) -> date:
    """The customer's calendar day at ``time``."""
    return moment_of(time).astimezone(zone).date()


def _midnight(day: date, zone: ZoneInfo) -> int:
    return micros(datetime(day.year, day.month, day.day, tzinfo=zone))


def _add_months(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    year, month = index // 12, index % 12 + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))
