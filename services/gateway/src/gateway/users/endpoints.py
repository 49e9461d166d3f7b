"""People, for operators (contract-admin §15.1 to §15.6)."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from gateway.dependencies import CurrentOperator, Process, RequestOrigin, UnitOfWork
from gateway.lists import Paged
from gateway.surfaces import OriginMismatch
from gateway.users.schemas import (
    SessionsRevoked,
    UserChanged,
    UserCreate,
    UserDeleted,
    UserDetail,
    UserList,
    UserRoleChange,
    UserRow,
)
from gateway.users.service import (
    CannotChangeOwnRole,
    CannotDeleteYourself,
    CannotRevokeSelf,
    EmailTaken,
    LastSuperadmin,
    SuperadminRequired,
    UserInUse,
    UserNotFound,
    Users,
)
from polaris_common.http.errors import NotFound, ServiceUnavailable, Unauthorized, errors
from polaris_common.identity.passwords import hash_password
from polaris_common.models import Role

router = APIRouter(prefix="/api/admin/user", tags=["users"])


def users_for(operator: CurrentOperator, process: Process, uow: UnitOfWork, origin: RequestOrigin) -> Users:
    """People, in the calling operator's hands."""
    return Users(uow, process.settings, process.audit, origin, operator)


PeopleInHand = Annotated[Users, Depends(users_for)]


@router.get("", responses=errors(Unauthorized, NotFound))
async def list_users(
    users: PeopleInHand,
    paging: Paged,
    q: Annotated[str | None, Query(max_length=200)] = None,
    role: Role | None = None,
) -> UserList:
    """Everybody by name; ``q`` is part of a name, an address or a public id."""
    page = await users.repository.list(users.operator, q=q, role=role, paging=paging)
    return UserList.of(page, UserRow.of)


@router.post(
    "",
    status_code=201,
    responses=errors(Unauthorized, NotFound, SuperadminRequired, EmailTaken, ServiceUnavailable, OriginMismatch),
)
async def create_user(body: UserCreate, users: PeopleInHand) -> UserChanged:
    """Add a person. Operators: by superadmins only; without a password they are invited by mail."""
    password_hash = None if body.password is None else await hash_password(body.password)
    return UserChanged.of(await users.create(body, password_hash))


@router.get("/{user_id}", responses=errors(Unauthorized, UserNotFound))
async def get_user(user_id: UUID, users: PeopleInHand) -> UserDetail:
    """A person with their cards, sessions and ways of signing in."""
    return await users.detail(user_id)


@router.put(
    "/{user_id}",
    responses=errors(
        Unauthorized, UserNotFound, SuperadminRequired, CannotChangeOwnRole, LastSuperadmin, OriginMismatch
    ),
)
async def change_user(user_id: UUID, body: UserRoleChange, users: PeopleInHand) -> UserChanged:
    """Make a person an operator or a driver, by superadmins only; they are signed out everywhere."""
    return UserChanged.of(await users.change_role(user_id, body.role, superadmin=body.superadmin))


@router.delete(
    "/{user_id}",
    responses=errors(
        Unauthorized, UserNotFound, SuperadminRequired, CannotDeleteYourself, LastSuperadmin, UserInUse, OriginMismatch
    ),
)
async def delete_user(user_id: UUID, users: PeopleInHand) -> UserDeleted:
    """Remove a person who has no active card and does not charge."""
    await users.delete(user_id)
    return UserDeleted(id=user_id)


@router.delete("/{user_id}/sessions", responses=errors(Unauthorized, NotFound, CannotRevokeSelf, OriginMismatch))
async def revoke_all_sessions(user_id: UUID, users: PeopleInHand) -> SessionsRevoked:
    """Sign a person out everywhere."""
    return SessionsRevoked(revoked=await users.revoke_all(user_id))


@router.delete(
    "/{user_id}/sessions/{session_id}", status_code=204, responses=errors(Unauthorized, NotFound, OriginMismatch)
)
async def revoke_session(user_id: UUID, session_id: UUID, users: PeopleInHand) -> None:
    """End one session of a person."""
    await users.revoke(user_id, session_id)
