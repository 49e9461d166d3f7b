"""Sync runs, for operators (contract-admin §5): what they do, asking for one, ending one, and how often they begin."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from gateway.dependencies import CurrentOperator, Process, RequestOrigin, UnitOfWork
from gateway.lists import LeafedBack, Paged
from gateway.surfaces import OriginMismatch
from gateway.sync_runs.repository import SyncRunReader
from gateway.sync_runs.schemas import (
    PinCleared,
    SyncLogPage,
    SyncLogRead,
    SyncRunDetail,
    SyncRunList,
    SyncRunRead,
    SyncRunRequested,
    SyncSegmentRead,
    SyncStateRead,
    TierPin,
    TierPinned,
)
from gateway.wire import MAX_BIGINT
from polaris_common.charging.schedule import ScheduleRepository
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


@router.get("/state", responses=errors(Unauthorized, NotFound))
async def get_sync_state(operator: CurrentOperator, uow: UnitOfWork) -> SyncStateRead:
    """How often SteVe is looked at now, when the next run is due, and what led there."""
    schedule, reader = await ScheduleRepository(uow).read(), SyncRunReader(uow)
    return SyncStateRead(
        current_tier=schedule.tier,
        fleet_tier=schedule.fleet,
        pinned_tier=schedule.pinned,
        pinned_until=schedule.pinned_until,
        next_run_at=schedule.next_run_at,
        last_activity_at=await reader.last_activity_at(),
        last_evaluated_at=schedule.evaluated_at,
        consecutive_idle_ticks=await reader.quiet_ticks(schedule.fleet),
        recent_transitions=[SyncLogRead.of(line) for line in await reader.transitions()],
    )


@router.post("/pin", responses=errors(Unauthorized, NotFound, OriginMismatch))
async def pin_tier(
    body: TierPin, operator: CurrentOperator, uow: UnitOfWork, process: Process, origin: RequestOrigin
) -> TierPinned:
    """Hold the fleet at a tier; the next run is due by it at once."""
    until = await ScheduleRepository(uow).pin(body.tier, timedelta(hours=body.hours))
    await process.audit.record(
        uow, AuditEvent.SYNC_PINNED, origin, user_id=operator.user_id, tier=body.tier, hours=body.hours
    )
    uow.after_commit(process.jobs.sync_run)
    message = f"Tier pinned to {body.tier} for {body.hours}h"
    return TierPinned(message=message, tier=body.tier, hours=body.hours, pinned_until=until)


@router.delete("/pin", responses=errors(Unauthorized, NotFound, OriginMismatch))
async def clear_pin(operator: CurrentOperator, uow: UnitOfWork, process: Process, origin: RequestOrigin) -> PinCleared:
    """Let the cadence decide again, at once; safe to repeat."""
    await ScheduleRepository(uow).unpin()
    await process.audit.record(uow, AuditEvent.SYNC_UNPINNED, origin, user_id=operator.user_id)
    uow.after_commit(process.jobs.sync_run)
    return PinCleared(message="Pin cleared")


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
