"""How far the platform has come with what was fed, read from its own database."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import text

from polaris_common.db import Database

STALL_SECONDS = 60.0
LOOK_SECONDS = 0.25

_SNAPSHOT = text("""
SELECT s.known, s.settled, s.due, m.due AS meters_due, e.pending, e.delivered, b.decided, b.held, b.billed_wh
FROM (SELECT count(*) AS known,
             count(*) FILTER (WHERE state IN ('settled', 'quarantined')) AS settled,
             count(*) FILTER (WHERE billed_revision < revision) AS due
      FROM charging_sessions) AS s,
     (SELECT count(*) AS due FROM live_meters WHERE billed_revision < revision) AS m,
     (SELECT count(*) FILTER (WHERE status = 'pending') AS pending,
             count(*) FILTER (WHERE status = 'delivered') AS delivered
      FROM lago_events) AS e,
     (SELECT count(*) FILTER (WHERE status IN ('billed', 'not_billable')) AS decided,
             count(*) FILTER (WHERE status = 'held') AS held,
             coalesce(sum(billed_wh), 0)::bigint AS billed_wh
      FROM session_billing) AS b
""")

_UNBILLED = text("SELECT reason, count(*) AS sessions FROM session_billing WHERE reason IS NOT NULL GROUP BY reason")


@dataclass(frozen=True)
class Progress:
    """What is known, settled and billed right now."""

    known: int
    settled: int
    due: int
    meters_due: int
    pending: int
    delivered: int
    decided: int
    held: int
    billed_wh: int

    def is_done(self, sessions: int) -> bool:
        """Whether nothing is left to do for ``sessions`` sessions."""
        complete = self.known == self.settled == self.decided == sessions
        return complete and self.due == self.meters_due == self.pending == 0


async def progress(database: Database) -> Progress:
    """Look once."""
    async with database.unit_of_work() as uow:
        row = (await uow.execute(_SNAPSHOT)).one()
    return Progress(**row._mapping)


async def unbilled(database: Database) -> dict[str, int]:
    """How many sessions are not billed, by reason."""
    async with database.unit_of_work() as uow:
        return {row.reason: row.sessions for row in (await uow.execute(_UNBILLED)).all()}


async def settle(
    database: Database,
    sessions: int,
    *,
    check: Callable[[], None],
    show: Callable[[Progress], None],
    stall_seconds: float = STALL_SECONDS,
) -> bool:
    """Wait until everything is settled and delivered; False when nothing has moved for ``stall_seconds``.

    ``check`` is called at every look and may raise; ``show`` gets what was seen.
    """
    last, moved_at = None, time.monotonic()
    while True:
        check()
        seen = await progress(database)
        show(seen)
        if seen.is_done(sessions):
            return True
        if seen != last:
            last, moved_at = seen, time.monotonic()
        elif time.monotonic() - moved_at > stall_seconds:
            return False
        await asyncio.sleep(LOOK_SECONDS)
