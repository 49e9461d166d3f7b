"""Sync runs, for operators (contract-admin §5): what they do, asking for one, and ending one."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from gateway.dependencies import CurrentOperator, Process, RequestOrigin, UnitOfWork
from gateway.lists import LeafedBack, Paged
from gateway.surfaces import OriginMismatch
from gateway.sync_runs.repository import SyncRunReader
from gateway.sync_runs.schemas import (
    SyncLogPage,
    SyncLogRead,
    SyncRunDetail,
    SyncRunList,
    SyncRunRead,
    SyncRunRequested,
    SyncSegmentRead,
)
from gateway.wire import MAX_BIGINT
from polaris_common.charging.sync_runs import SyncRunNotFound, SyncRunOver, SyncRunRepository, trigger_run
from polaris_common.http.errors import NotFound, Unauthorized, errors
from polaris_common.identity.audit import AuditEvent
from polaris_common.models import SyncRunStatus

router = APIRouter(prefix="/api/admin/sync", tags=["sync runs"])

RunId = Annotated[int, Path(ge=1, le=MAX_BIGINT)]
MAX_SEGMENT_LENGTH = 64


@router.get("", responses=errors(Unauthorized, NotFound))
async def list_sync_runs(
    operator: CurrentOperator, uow: UnitOfWork, paging: Paged, status: SyncRunStatus | None = None
) -> SyncRunList:
    """Runs, the latest first; kept 90 days."""
    return SyncRunList.of(await SyncRunReader(uow).list(status, paging), SyncRunRead.of)


@router.post("/trigger", status_code=202, responses=errors(Unauthorized, NotFound, OriginMismatch))
async def trigger_sync_run(
    operator: CurrentOperator, uow: UnitOfWork, process: Process, origin: RequestOrigin
) -> SyncRunRequested:
    """Ask for a run now; it begins when a worker is free. Triggers that wait together are one run."""
    run_id = await trigger_run(uow)
    await process.audit.record(uow, AuditEvent.SYNC_RUN_TRIGGERED, origin, user_id=operator.user_id, syncRunId=run_id)
    uow.after_commit(process.jobs.sync_run)
    return SyncRunRequested(message="A sync run has been requested.", sync_run_id=run_id)


@router.get("/{run_id}", responses=errors(Unauthorized, SyncRunNotFound))
async def get_sync_run(run_id: RunId, operator: CurrentOperator, uow: UnitOfWork) -> SyncRunDetail:
    """A run with its parts; counters move while it works."""
    reader = SyncRunReader(uow)
    run = await reader.get(run_id)
    return SyncRunDetail(
        run=SyncRunRead.of(run), segments=[SyncSegmentRead.of(each) for each in await reader.segments(run_id)]
    )


@router.get("/{run_id}/logs", responses=errors(Unauthorized, SyncRunNotFound))
async def list_sync_run_log(
    *,
    run_id: RunId,
    operator: CurrentOperator,
    uow: UnitOfWork,
    segment: Annotated[str | None, Query(max_length=MAX_SEGMENT_LENGTH)] = None,
    leafing: LeafedBack,
) -> SyncLogPage:
    """What a run has said, the latest line first; written while it works."""
    reader = SyncRunReader(uow)
    await reader.get(run_id)
    return SyncLogPage.of(await reader.log(run_id, segment, leafing), leafing, SyncLogRead.of, lambda line: line.id)


@router.post(
    "/{run_id}/cancel",
    responses={
        202: {"model": SyncRunRead, "description": "Its worker ends it between two steps."},
        **errors(Unauthorized, SyncRunNotFound, SyncRunOver, OriginMismatch),
    },
)
async def cancel_sync_run(
    *,
    run_id: RunId,
    operator: CurrentOperator,
    uow: UnitOfWork,
    process: Process,
    origin: RequestOrigin,
    response: Response,
) -> SyncRunRead:
    """End a run; safe to repeat. What it has stored stays, and the next run does the rest.

    200 when it is cancelled: nobody had begun it, or its worker is dead. 202 when a worker is at it: within seconds it
    is cancelled, or completed if nothing was left to do.
    """
    run = await SyncRunRepository(uow).cancel(run_id)
    await process.audit.record(uow, AuditEvent.SYNC_RUN_CANCELLED, origin, user_id=operator.user_id, syncRunId=run_id)
    if run.status == SyncRunStatus.RUNNING:
        response.status_code = 202
    return SyncRunRead.of(run)
