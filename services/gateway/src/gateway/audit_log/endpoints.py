"""The audit of sign-ins and rights, for operators; kept 90 days."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from gateway.audit_log.repository import AuditFilter, entries
from gateway.audit_log.schemas import AuditEntry, AuditPage
from gateway.dependencies import CurrentOperator, UnitOfWork
from gateway.sessions.dates import DateText, first_moment, moment_after
from gateway.wire import MAX_BIGINT
from polaris_common.identity.audit import AuditEvent

router = APIRouter(prefix="/api/admin/audit", tags=["audit"])


@router.get("")
async def list_audit(
    *,
    operator: CurrentOperator,
    uow: UnitOfWork,
    user_id: Annotated[UUID | None, Query(alias="userId")] = None,
    event: AuditEvent | None = None,
    since: Annotated[DateText | None, Query(alias="from")] = None,
    until: Annotated[DateText | None, Query(alias="to")] = None,
    cursor: Annotated[int | None, Query(ge=1, le=MAX_BIGINT)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> AuditPage:
    """What was audited, newest first."""
    wanted = AuditFilter(user_id, event, first_moment(since), moment_after(until), cursor)
    rows = await entries(uow, wanted, limit=limit + 1)
    page, more = rows[:limit], len(rows) > limit
    return AuditPage(items=[AuditEntry.of(row) for row in page], next_cursor=str(page[-1].id) if more else None)
