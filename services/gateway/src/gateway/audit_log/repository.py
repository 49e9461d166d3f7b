"""Reading the audit of sign-ins and rights."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from polaris_common.db import UnitOfWork
from polaris_common.models import AuthAudit


@dataclass(frozen=True)
class AuditFilter:
    """Which rows: about ``user_id``, of ``event``, from ``since`` and before ``until``, older than row ``before``."""

    user_id: UUID | None = None
    event: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


async def entries(uow: UnitOfWork, wanted: AuditFilter, *, limit: int) -> Sequence[AuthAudit]:
    """The newest rows first, at most ``limit``."""
    query = select(AuthAudit).order_by(AuthAudit.id.desc()).limit(limit)
    if wanted.user_id is not None:
        query = query.where(AuthAudit.user_id == wanted.user_id)
    if wanted.event is not None:
        query = query.where(AuthAudit.event == wanted.event)
    if wanted.since is not None:
        query = query.where(AuthAudit.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuthAudit.created_at < wanted.until)
    if wanted.before is not None:
        query = query.where(AuthAudit.id < wanted.before)
    return (await uow.session.scalars(query)).all()
