"""The one source of "now".

Production uses ``SystemClock``; tests pass a clock of their own. Comparisons against stored times use the database's
``now()`` instead, so that a worker with a wrong clock decides nothing.
"""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Anything that tells the time."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        return datetime.now(UTC)


def to_wire(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and ``Z``, as every API of ours writes times."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
