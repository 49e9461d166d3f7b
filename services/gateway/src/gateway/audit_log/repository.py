"""Reading the audit of sign-ins and rights."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from gateway.lists import LeafingBack
from polaris_common.db import UnitOfWork
from polaris_common.models import AuthAudit


@dataclass(frozen=True)
class AuditFilter:
    """Which rows: about ``user_id``, of ``event``, from ``since`` and before ``until``."""

    user_id: UUID | None = None
    event: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def entries(uow: UnitOfWork, wanted: AuditFilter, leafing: LeafingBack) -> Sequence[AuthAudit]:
    """The newest rows first."""
    query = select(AuthAudit).order_by(AuthAudit.id.desc()).limit(leafing.to_read)
    if wanted.user_id is not None:
        query = query.where(AuthAudit.user_id == wanted.user_id)
    if wanted.event is not None:
        query = query.where(AuthAudit.event == wanted.event)
    if wanted.since is not None:
        query = query.where(AuthAudit.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuthAudit.created_at < wanted.until)
    if leafing.before is not None:
        query = query.where(AuthAudit.id < leafing.before)
    return (await uow.session.scalars(query)).all()
