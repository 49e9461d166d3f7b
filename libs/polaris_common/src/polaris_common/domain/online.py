"""Who counts as online: one rule for every list, every check and every screen."""

from collections.abc import Iterable
from datetime import datetime, timedelta

DEVICE_WINDOW = timedelta(seconds=90)
CHARGER_WINDOW = timedelta(minutes=60)

_FAULTS = ("offline", "fault", "error", "unavail")


def device_is_online(last_seen_at: datetime | None, now: datetime) -> bool:
    """Whether a phone, tablet or laptop was heard of in the last 90 seconds."""
    return last_seen_at is not None and now - last_seen_at <= DEVICE_WINDOW


def charger_is_online(last_seen_at: datetime | None, statuses: Iterable[str | None], now: datetime) -> bool:
    """Whether a charge box was heard of in the last hour and none of its connectors reports a fault."""
    if last_seen_at is None or now - last_seen_at > CHARGER_WINDOW:
        return False
    return not any(fault in (status or "").lower() for status in statuses for fault in _FAULTS)
