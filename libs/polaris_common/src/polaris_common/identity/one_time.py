"""Secrets that work once: magic links, password resets, registration codes.

The holder has the token, the database its SHA-256. Using one is a single UPDATE, so of any number of tries at the same
time one succeeds.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.sql.elements import ColumnElement

from polaris_common.db import UnitOfWork
from polaris_common.models import OneTimeToken, TokenPurpose

TOKEN_BYTES = 32
MAX_TOKEN_LENGTH = 512

_DELETE_OLD = text("DELETE FROM one_time_tokens WHERE expires_at < now() - interval '1 day'")


@dataclass(frozen=True)
class Used:
    """What a token stood for."""

    user_id: UUID | None
    payload: dict[str, Any]


async def issue(
    uow: UnitOfWork,
    purpose: TokenPurpose,
    *,
    lifetime: timedelta,
    user_id: UUID | None = None,
    payload: dict[str, Any] | None = None,
) -> str:
    """A new token: 43 characters of base64url, shown this once."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    await uow.execute(
        insert(OneTimeToken).values(
            purpose=purpose,
            token_hash=_hash(token),
            user_id=user_id,
            payload=payload or {},
            expires_at=func.now() + lifetime,
        )
    )
    return token


async def look_at(uow: UnitOfWork, purpose: TokenPurpose, token: str) -> Used | None:
    """What ``token`` stands for, without using it; None when it is not usable."""
    if len(token) > MAX_TOKEN_LENGTH:
        return None
    query = select(OneTimeToken.user_id, OneTimeToken.payload).where(*_usable(purpose, token))
    row = (await uow.execute(query)).one_or_none()
    return None if row is None else Used(row.user_id, row.payload)


async def look_at_expired(uow: UnitOfWork, purpose: TokenPurpose, token: str) -> Used | None:
    """What ``token`` would stand for had it been used in time; None when it is unknown or used."""
    if len(token) > MAX_TOKEN_LENGTH:
        return None
    query = select(OneTimeToken.user_id, OneTimeToken.payload).where(
        OneTimeToken.token_hash == _hash(token),
        OneTimeToken.purpose == purpose,
        OneTimeToken.consumed_at.is_(None),
        OneTimeToken.expires_at <= func.now(),
    )
    row = (await uow.execute(query)).one_or_none()
    return None if row is None else Used(row.user_id, row.payload)


async def use(uow: UnitOfWork, purpose: TokenPurpose, token: str) -> Used | None:
    """Use ``token`` up; None when it is unknown, of another purpose, expired or used before."""
    if len(token) > MAX_TOKEN_LENGTH:
        return None
    statement = (
        update(OneTimeToken)
        .where(*_usable(purpose, token))
        .values(consumed_at=func.now())
        .returning(OneTimeToken.user_id, OneTimeToken.payload)
    )
    row = (await uow.execute(statement)).one_or_none()
    return None if row is None else Used(row.user_id, row.payload)


async def revoke_all(uow: UnitOfWork, purpose: TokenPurpose, user_id: UUID) -> None:
    """Make every unused token of ``user_id`` for ``purpose`` unusable."""
    await uow.execute(
        update(OneTimeToken)
        .where(OneTimeToken.purpose == purpose, OneTimeToken.user_id == user_id, OneTimeToken.consumed_at.is_(None))
        .values(consumed_at=func.now())
    )


async def delete_old(uow: UnitOfWork) -> int:
    """Forget tokens that expired more than a day ago; how many."""
    return await uow.write(_DELETE_OLD)


def _usable(purpose: TokenPurpose, token: str) -> list[ColumnElement[bool]]:
    return [
        OneTimeToken.token_hash == _hash(token),
        OneTimeToken.purpose == purpose,
        OneTimeToken.consumed_at.is_(None),
        OneTimeToken.expires_at > func.now(),
    ]


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
