"""What health needs to know beyond the workers' reports."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text

from polaris_common.db import UnitOfWork
from polaris_common.models import SyncRun, SyncRunStatus

STUCK_AFTER_MINUTES = 30
"""A sync run that runs for so long is stuck (contract §10.1)."""

_STUCK = text("""
SELECT EXISTS (SELECT 1 FROM sync_runs WHERE status = 'running'
               AND started_at < now() - make_interval(mins => :minutes))
""")
_QUEUES = text("""
SELECT 'lago_events' AS name, count(*) FILTER (WHERE status = 'pending') AS waiting,
       min(created_at) FILTER (WHERE status = 'pending') AS oldest,
       count(*) FILTER (WHERE status = 'quarantined') AS failed, now() AS now
FROM lago_events WHERE status <> 'delivered'
UNION ALL
SELECT 'lago_webhooks', count(*) FILTER (WHERE status = 'pending'),
       min(received_at) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'dead'), now()
FROM lago_webhook_events WHERE status <> 'processed'
UNION ALL
SELECT 'outgoing_mails', count(*) FILTER (WHERE dead_at IS NULL), min(created_at) FILTER (WHERE dead_at IS NULL),
       count(*) FILTER (WHERE dead_at IS NOT NULL), now()
FROM outgoing_mails WHERE sent_at IS NULL
UNION ALL
SELECT 'domain_events', count(*), min(created_at), 0, now() FROM domain_events WHERE seq IS NULL
""")


@dataclass(frozen=True)
class QueueState:
    """How many wait, the oldest for how long, and how many were given up."""

    name: str
    waiting: int
    oldest_seconds: int | None
    failed: int


async def a_sync_run_is_stuck(uow: UnitOfWork) -> bool:
    """Whether a run has been running for too long."""
    return bool((await uow.execute(_STUCK, {"minutes": STUCK_AFTER_MINUTES})).scalar_one())


async def queues(uow: UnitOfWork) -> list[QueueState]:
    """Everything that waits in the database."""
    return [
        QueueState(
            row.name, row.waiting, row.oldest and max(0, int((row.now - row.oldest).total_seconds())), row.failed
        )
        for row in await uow.execute(_QUEUES)
    ]


async def last_sync_run(uow: UnitOfWork) -> datetime | None:
    """When a sync run last ended, well or badly; one that was cancelled did neither."""
    latest = select(func.max(SyncRun.completed_at)).where(SyncRun.status != SyncRunStatus.CANCELLED)
    ended: datetime | None = await uow.session.scalar(latest)
    return ended
