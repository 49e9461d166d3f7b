"""Local midnights: where slices are cut so that no energy straddles a billing period."""

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MAX_DAYS = 400
"""A session over more than a year has other problems than its slices."""


def midnights(begin: datetime, end: datetime, zone_name: str) -> list[datetime]:
    """The local midnights strictly between two moments, in the zone that Lago bills the customer in.

    A zone we do not know counts as UTC, as in Lago.
    """
    try:
        zone = ZoneInfo(zone_name)
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    day = begin.astimezone(zone).date()
    found = []
    for _ in range(MAX_DAYS):
        day += timedelta(days=1)
        midnight = datetime.combine(day, time(), zone).astimezone(begin.tzinfo)
        if midnight >= end:
            break
        if midnight > begin:
            found.append(midnight)
    return found
