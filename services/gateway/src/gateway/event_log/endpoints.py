"""The route of the event log (the same log that streams resume from; kept seven days)."""

from typing import Annotated

from fastapi import APIRouter, Query

from gateway.dependencies import CurrentOperator, UnitOfWork
from gateway.event_log import service
from gateway.event_log.schemas import EventsRead
from gateway.event_log.service import EventsGone
from gateway.wire import MAX_BIGINT
from polaris_common.http.errors import NotFound, Unauthorized, errors

router = APIRouter(prefix="/api/events", tags=["events"])


@router.get("", responses=errors(Unauthorized, NotFound, EventsGone))
async def list_events(
    *,
    operator: CurrentOperator,
    uow: UnitOfWork,
    after: Annotated[int | None, Query(ge=0, le=MAX_BIGINT)] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> EventsRead:
    """Events after number ``after`` in order; from the oldest that is kept when it is left out."""
    return await service.events_after(uow, operator, after, limit=limit)
