"""A driver's charging sessions (contract §4.1, §4.2)."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from gateway.dependencies import CurrentDriver, UnitOfWork
from gateway.lists import Paged
from gateway.sessions import service
from gateway.sessions.dates import DateText, first_moment, moment_after
from gateway.sessions.repository import Filter, SessionStatus
from gateway.sessions.schemas import SessionDetail, SessionList
from gateway.sessions.service import SessionNotFound
from gateway.wire import MAX_BIGINT
from polaris_common.http.errors import Forbidden, Unauthorized, errors

router = APIRouter(prefix="/api/customer/sessions", tags=["sessions"])


@router.get("", responses=errors(Unauthorized, Forbidden))
async def list_sessions(
    *,
    driver: CurrentDriver,
    uow: UnitOfWork,
    paging: Paged,
    since: Annotated[DateText | None, Query(alias="from")] = None,
    until: Annotated[DateText | None, Query(alias="to")] = None,
    status: SessionStatus | None = None,
) -> SessionList:
    """The driver's sessions by their start, newest first; ``from`` and ``to`` are days or moments, both included."""
    wanted = Filter(first_moment(since), moment_after(until), status)
    return await service.list_sessions(uow, driver, wanted, paging)


@router.get("/{session_id}", responses=errors(Unauthorized, Forbidden, SessionNotFound))
async def get_session(
    session_id: Annotated[int, Path(ge=1, le=MAX_BIGINT)], driver: CurrentDriver, uow: UnitOfWork
) -> SessionDetail:
    """One session and the slices of energy that were billed of it."""
    return await service.get_session(uow, driver, session_id)
