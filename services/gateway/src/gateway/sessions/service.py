"""A driver's charging sessions."""

from gateway.sessions.repository import Filter, SessionViewRepository
from gateway.sessions.schemas import SessionDetail, SessionList, SessionRead
from polaris_common.db import UnitOfWork
from polaris_common.db.pages import Paging
from polaris_common.http.errors import NotFound
from polaris_common.identity.principals import Principal


class SessionNotFound(NotFound):
    """There is no such session, or it is somebody else's."""

    code, message = "session_not_found", "There is no such charging session."


async def list_sessions(uow: UnitOfWork, principal: Principal, wanted: Filter, paging: Paging) -> SessionList:
    """One page of the sessions that ``principal`` may see, newest start first."""
    return SessionList.of(await SessionViewRepository(uow).page(principal, wanted, paging), SessionRead.of)


async def get_session(uow: UnitOfWork, principal: Principal, session_id: int) -> SessionDetail:
    """One session with its slices.

    Raises:
        SessionNotFound: it does not exist or belongs to somebody else.
    """
    repository = SessionViewRepository(uow)
    row = await repository.get(principal, session_id)
    if row is None:
        raise SessionNotFound
    return SessionDetail.of(row, await repository.slices(row))
