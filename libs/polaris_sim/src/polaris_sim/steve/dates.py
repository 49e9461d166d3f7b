"""Dates as SteVe writes and reads them."""

import re
from datetime import UTC, datetime, timedelta, timezone

_QUERY_DATE = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:T(\d{2})(?::(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?(Z|[+-]\d{2}(?::?\d{2})?)?)?"
)


def iso(moment: datetime, offset_hours: float = 0.0) -> str:
    """``yyyy-MM-ddTHH:mm:ss.SSSZ``, microseconds cut; with an offset in place of ``Z`` unless it is 0."""
    if offset_hours == 0:
        return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    return moment.astimezone(timezone(timedelta(hours=offset_hours))).isoformat(timespec="milliseconds")


def parse_query_date(text: str, *, local_only: bool = False, zone_required: bool = False) -> datetime:
    """Read a date from a query: ISO with any tail left out, UTC unless it names a zone.

    Raises:
        ValueError: not such a date, a zone where ``local_only``, or none where ``zone_required``.
    """
    match = _QUERY_DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a date: {text!r}")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    if (zone and local_only) or (not zone and zone_required):
        raise ValueError(f"the zone of {text!r} is not allowed or missing")
    micros = int((fraction or "0").ljust(6, "0")[:6])
    moment = datetime(
        int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), micros, tzinfo=UTC
    )
    return moment - _offset(zone)


def parse_moment(text: str) -> datetime:
    """Read an ISO date of a JSON body as an aware UTC time; without a zone it is UTC.

    Raises:
        ValueError: not an ISO date.
    """
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def human(moment: datetime | None, now: datetime) -> str | None:
    """A heartbeat as the fork's charge box list shows it: a text for people, not a date."""
    if moment is None:
        return None
    days = (now.date() - moment.date()).days
    if days in (0, 1):
        return f"{'Yesterday' if days else 'Today'} at {moment:%H:%M}"
    return f"{moment:%Y-%m-%d at %H:%M}"


def _offset(zone: str | None) -> timedelta:
    if zone is None or zone == "Z":
        return timedelta()
    hours, minutes = int(zone[1:3]), int(zone[-2:] if len(zone) > 3 else 0)
    return timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
