"""Server-side sessions: the browser holds a random token, the database only its SHA-256."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, insert, or_, select

from polaris_common.db import UnitOfWork
from polaris_common.identity.principals import Driver, Operator, Principal
from polaris_common.models import AuthSession, Role, User

SESSION_LIFETIME = timedelta(days=7)
TOKEN_BYTES = 32
MAX_TOKEN_LENGTH = 128


@dataclass(frozen=True)
class SignedIn:
    """A resolved session: who it is and until when."""

    session_id: UUID
    user: User
    expires_at: datetime

    @property
    def principal(self) -> Principal:
        """The caller this session stands for."""
        return Operator(self.user.id) if self.user.role == Role.ADMIN else Driver(self.user.id)


def cookie_name(*, secure: bool) -> str:
    """The session cookie's name; ``__Secure-`` makes browsers insist on HTTPS."""
    return "__Secure-polaris.session" if secure else "polaris.session"


async def open_session(
    uow: UnitOfWork, user: User, *, lifetime: timedelta, ip_address: str | None, user_agent: str | None
) -> str:
    """Sign ``user`` in; the token for the cookie, shown this once."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    await uow.execute(
        insert(AuthSession).values(
            user_id=user.id,
            token_hash=_hash(token),
            expires_at=func.now() + lifetime,
            ip_address=ip_address,
            user_agent=user_agent,
        )
    )
    return token


async def resolve_session(
    uow: UnitOfWork, token: str | None, *, customer_lifetime: timedelta | None = None
) -> SignedIn | None:
    """The live session behind ``token``, or None; compared by the database's clock.

    ``customer_lifetime``: a customer's session ends so long after its creation, whatever its expiry says.
    """
    if not token or len(token) > MAX_TOKEN_LENGTH:
        return None
    query = (
        select(AuthSession.id, AuthSession.expires_at, User)
        .join(User, User.id == AuthSession.user_id)
        .where(AuthSession.token_hash == _hash(token), AuthSession.expires_at > func.now())
    )
    if customer_lifetime is not None:
        young = AuthSession.created_at > func.now() - customer_lifetime
        query = query.where(or_(User.role != Role.CUSTOMER, young))
    row = (await uow.execute(query)).one_or_none()
    return None if row is None else SignedIn(session_id=row.id, user=row.User, expires_at=row.expires_at)


async def close_session(uow: UnitOfWork, token: str) -> None:
    """Sign out; an unknown token is fine."""
    await uow.execute(delete(AuthSession).where(AuthSession.token_hash == _hash(token)))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
