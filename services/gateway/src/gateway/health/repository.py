"""What health needs to know beyond the workers' reports."""

from datetime import datetime

from sqlalchemy import func, select

from polaris_common.db import UnitOfWork
from polaris_common.models import SyncRun


async def last_sync_run(uow: UnitOfWork) -> datetime | None:
    """When a sync run last ended, well or badly."""
    ended: datetime | None = await uow.session.scalar(select(func.max(SyncRun.completed_at)))
    return ended
