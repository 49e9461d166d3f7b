"""The audit of sign-ins and rights, for operators; kept 90 days."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from gateway.audit_log.repository import AuditFilter, entries
from gateway.audit_log.schemas import AuditEntry, AuditPage
from gateway.dependencies import CurrentOperator, UnitOfWork
from gateway.lists import LeafedBack
from gateway.sessions.dates import DateText, first_moment, moment_after
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
    leafing: LeafedBack,
) -> AuditPage:
    """What was audited, newest first."""
    wanted = AuditFilter(user_id, event, first_moment(since), moment_after(until))
    return AuditPage.of(await entries(uow, wanted, leafing), leafing, AuditEntry.of, lambda row: row.id)
