"""Time partitions of ``meter_readings`` (a month each) and ``domain_events`` (a day each).

Rows outside every partition (a station with a wrong clock, data years old) land in the default partition, so nothing
is ever refused for its time.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from sqlalchemy import text

from polaris_common.db.unit_of_work import UnitOfWork

EVENT_RETENTION_DAYS = 7
_DAYS_AHEAD = 3
_MONTHS_AHEAD = 2


@dataclass(frozen=True)
class _Span:
    table: str
    column: str
    suffix: str
    begin: datetime
    end: datetime

    @property
    def name(self) -> str:
        return f"{self.table}_{self.suffix}"


async def ensure_partitions(uow: UnitOfWork) -> None:
    """Create the partitions of today and the near future; safe to repeat."""
    now = (await uow.execute(text("SELECT now()"))).scalar_one().astimezone(UTC)
    for span in [*_days(now), *_months(now)]:
        await _create(uow, span)


async def drop_old_events(uow: UnitOfWork) -> int:
    """Drop the event partitions that are past their retention; the number dropped.

    Events of days that had no partition (nobody had made one in time) lie in the default partition and go by row.
    """
    now = (await uow.execute(text("SELECT now()"))).scalar_one().astimezone(UTC)
    kept = _midnight(now) - timedelta(days=EVENT_RETENTION_DAYS)
    await uow.execute(text("DELETE FROM domain_events_default WHERE created_at < :kept"), {"kept": kept})
    oldest = f"domain_events_{kept:%Y%m%d}"
    query = text(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'domain_events'::regclass AND c.relname ~ '_[0-9]{8}$' AND c.relname < :oldest"
    )
    names = [row.relname for row in await uow.execute(query, {"oldest": oldest})]
    for name in names:
        await uow.execute(text(f'DROP TABLE "{name}"'))
    return len(names)


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _days(now: datetime) -> list[_Span]:
    begins = [_midnight(now) + timedelta(days=n) for n in range(_DAYS_AHEAD + 1)]
    return [_Span("domain_events", "created_at", f"{b:%Y%m%d}", b, b + timedelta(days=1)) for b in begins]


def _months(now: datetime) -> list[_Span]:
    begins = [_midnight(now).replace(day=1)]
    while len(begins) <= _MONTHS_AHEAD + 1:
        begins.append((begins[-1] + timedelta(days=32)).replace(day=1))
    return [_Span("meter_readings", "sampled_at", f"{begin:%Y%m}", begin, end) for begin, end in pairwise(begins)]


async def _create(uow: UnitOfWork, span: _Span) -> None:
    exists = await uow.execute(text("SELECT to_regclass(:name)"), {"name": span.name})
    if exists.scalar_one() is not None:
        return
    begin, end = span.begin.isoformat(), span.end.isoformat()
    inside = f"{span.column} >= '{begin}' AND {span.column} < '{end}'"
    # Rows that arrived early sit in the default partition; they move, or PostgreSQL refuses the new partition.
    for statement in (
        f'CREATE TABLE "{span.name}" (LIKE {span.table} INCLUDING DEFAULTS)',
        f'INSERT INTO "{span.name}" SELECT * FROM {span.table}_default WHERE {inside}',  # noqa: S608 - our own names
        f"DELETE FROM {span.table}_default WHERE {inside}",  # noqa: S608
        f"ALTER TABLE {span.table} ATTACH PARTITION \"{span.name}\" FOR VALUES FROM ('{begin}') TO ('{end}')",
    ):
        await uow.execute(text(statement))
