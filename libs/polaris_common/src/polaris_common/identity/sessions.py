"""Server-side sessions: the browser holds random tokens, the database only their SHA-256.

A browser has two cookies. One is the token of its active session. The other names the browser, so that several people
may be signed in there and take turns; it changes with every sign-in, so that nobody can plant one and wait. A session
that is not active has no token that anybody knows.
"""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeGuard
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Delete,
    Row,
    Select,
    Update,
    Uuid,
    and_,
    any_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import aliased
from sqlalchemy.sql.elements import ColumnElement

from polaris_common.db import UnitOfWork
from polaris_common.identity.principals import Driver, Operator, Principal
from polaris_common.models import AuthSession, Role, User

SESSION_LIFETIME = timedelta(days=7)
RENEW_AFTER = timedelta(days=1)
"""An operator's session that is used starts its seven days again, once a day."""
SEEN_EVERY = timedelta(minutes=5)
"""How exact ``last_seen_at`` is."""
FORGETFUL_LIFETIME = timedelta(days=1)
"""How long a session lives at most when the browser is not to remember it."""
MAX_IN_BROWSER = 5
"""People who may be signed in in one browser; the one not seen for longest has to go."""
TOKEN_BYTES = 32
MAX_TOKEN_LENGTH = 128

_Customer = aliased(User)


@dataclass(frozen=True)
class Impersonation:
    """The driver whose account an operator views, and until when."""

    customer: User
    until: datetime


@dataclass(frozen=True)
class SignedIn:
    """A resolved session: who it is and until when."""

    session: AuthSession
    user: User
    impersonation: Impersonation | None = None
    seen_lately: bool = True

    @property
    def session_id(self) -> UUID:
        """The session's id."""
        return self.session.id

    @property
    def expires_at(self) -> datetime:
        """When it ends."""
        return self.session.expires_at

    @property
    def principal(self) -> Principal:
        """The caller this session stands for."""
        if self.user.role == Role.ADMIN:
            return Operator(self.user.id, superadmin=self.user.superadmin)
        return Driver(self.user.id)


@dataclass(frozen=True)
class Opened:
    """A new or newly active session: what goes into the browser's two cookies, shown this once."""

    session_id: UUID
    token: str
    browser: str
    max_age_seconds: int | None
    """None: until the browser is closed."""


def cookie_name(*, secure: bool) -> str:
    """The session cookie's name; ``__Secure-`` makes browsers insist on HTTPS."""
    return "__Secure-polaris.session" if secure else "polaris.session"


def browser_cookie_name(*, secure: bool) -> str:
    """The name of the cookie that names the browser."""
    return "__Secure-polaris.browser" if secure else "polaris.browser"


def lifetime_of(user: User, *, customer_lifetime: timedelta, remembered: bool = True) -> timedelta:
    """How long a new session of ``user`` lives."""
    full = customer_lifetime if user.role == Role.CUSTOMER else SESSION_LIFETIME
    return full if remembered else min(full, FORGETFUL_LIFETIME)


async def open_session(
    uow: UnitOfWork, user: User, *, lifetime: timedelta, ip_address: str | None, user_agent: str | None
) -> str:
    """Sign ``user`` in outside of any browser; the token, shown this once."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    await _insert(uow, user, token, lifetime=lifetime, ip_address=ip_address, user_agent=user_agent)
    return token


async def open_in_browser(
    uow: UnitOfWork,
    user: User,
    *,
    lifetime: timedelta,
    browser: str | None,
    remembered: bool = True,
    ip_address: str | None,
    user_agent: str | None,
) -> Opened:
    """Sign ``user`` in and make them the active one.

    ``browser``: what the browser's cookie holds. Who else is signed in there stays, up to ``MAX_IN_BROWSER``; an older
    session of the same person ends.
    """
    token, name = secrets.token_urlsafe(TOKEN_BYTES), secrets.token_urlsafe(TOKEN_BYTES)
    if known(browser):
        await _make_room(uow, _hash(browser), _hash(name), user.id)
    session_id = await _insert(
        uow,
        user,
        token,
        lifetime=lifetime,
        remembered=remembered,
        browser_hash=_hash(name),
        ip_address=ip_address,
        user_agent=user_agent,
    )
    return Opened(session_id, token, name, int(lifetime.total_seconds()) if remembered else None)


async def resolve_session(
    uow: UnitOfWork, token: str | None, *, customer_lifetime: timedelta | None = None
) -> SignedIn | None:
    """The live session behind ``token``, or None; compared by the database's clock.

    ``customer_lifetime``: a customer's session ends so long after its creation, whatever its expiry says.
    """
    if not known(token):
        return None
    row = (await uow.execute(_behind_token(customer_lifetime), {"token_hash": _hash(token)})).one_or_none()
    return None if row is None else _signed_in(row)


@dataclass(frozen=True)
class Standing:
    """What holds of a live session: its person's role, and whose account it views."""

    role: str
    acting_as: UUID | None


async def standing_sessions(
    uow: UnitOfWork, session_ids: Iterable[UUID], *, customer_lifetime: timedelta
) -> dict[UUID, Standing]:
    """Of these sessions the live ones."""
    ids = literal(list(session_ids), ARRAY(Uuid()))
    rows = await uow.execute(_sessions(customer_lifetime).where(AuthSession.id == any_(ids)))
    live = map(_signed_in, rows)
    return {
        each.session_id: Standing(each.user.role, each.impersonation.customer.id if each.impersonation else None)
        for each in live
    }


async def keep_alive(uow: UnitOfWork, signed_in: SignedIn) -> bool:
    """Note that a session was used; True when it lives longer now and the browser must learn that.

    Only sessions of operators whom the browser remembers are prolonged.
    """
    if signed_in.seen_lately:
        return False
    slides = signed_in.user.role == Role.ADMIN and signed_in.session.remembered
    values: dict[str, object] = {"last_seen_at": func.now()}
    if slides and await _is_due(uow, signed_in.session_id):
        values["expires_at"] = func.now() + SESSION_LIFETIME
    await uow.execute(_update().where(AuthSession.id == signed_in.session_id).values(**values))
    return "expires_at" in values


async def end_overdue(uow: UnitOfWork, token: str | None, *, customer_lifetime: timedelta) -> UUID | None:
    """Delete the customer's session behind ``token`` if it has outlived ``customer_lifetime``; whose it was."""
    if not known(token):
        return None
    statement = (
        _delete()
        .where(
            AuthSession.token_hash == _hash(token),
            AuthSession.user_id == User.id,
            User.role == Role.CUSTOMER,
            AuthSession.created_at <= func.now() - customer_lifetime,
        )
        .returning(AuthSession.user_id)
    )
    return (await uow.execute(statement)).scalar_one_or_none()


async def sessions_of_browser(
    uow: UnitOfWork, browser: str | None, *, customer_lifetime: timedelta
) -> Sequence[SignedIn]:
    """Who is signed in in this browser, in the order in which they signed in."""
    if not known(browser):
        return []
    query = _sessions(customer_lifetime).where(AuthSession.browser_hash == _hash(browser))
    return [_signed_in(row) for row in await uow.execute(query.order_by(AuthSession.created_at, AuthSession.id))]


async def sessions_of_user(uow: UnitOfWork, user_id: UUID, *, limit: int = 50) -> Sequence[AuthSession]:
    """The live sessions of a person, latest used first."""
    query = (
        select(AuthSession)
        .where(AuthSession.user_id == user_id, AuthSession.expires_at > func.now())
        .order_by(AuthSession.last_seen_at.desc(), AuthSession.id)
        .limit(limit)
    )
    return list((await uow.execute(query)).scalars())


async def activate(
    uow: UnitOfWork, session_id: UUID, *, browser: str | None, customer_lifetime: timedelta
) -> tuple[Opened, SignedIn] | None:
    """Make another session of this browser the active one, with a new token; None when it is not one of them."""
    if not known(browser):
        return None
    query = _sessions(customer_lifetime).where(AuthSession.id == session_id, AuthSession.browser_hash == _hash(browser))
    row = (await uow.execute(query.with_for_update(of=AuthSession))).one_or_none()
    if row is None:
        return None
    token = secrets.token_urlsafe(TOKEN_BYTES)
    await _park(uow, _hash(browser))
    await uow.execute(
        _update().where(AuthSession.id == session_id).values(token_hash=_hash(token), last_seen_at=func.now())
    )
    max_age = int((row.AuthSession.expires_at - row.now).total_seconds()) if row.AuthSession.remembered else None
    return Opened(session_id, token, browser, max_age), _signed_in(row)


async def close_session(uow: UnitOfWork, token: str) -> None:
    """End one session; an unknown token is fine."""
    await uow.execute(_delete().where(AuthSession.token_hash == _hash(token)))


async def close_browser(uow: UnitOfWork, token: str | None, browser: str | None) -> None:
    """End every session of the browser that has these cookies."""
    hashes = [_hash(value) for value in (browser,) if known(value)]
    if known(token):
        of_token = select(AuthSession.browser_hash).where(AuthSession.token_hash == _hash(token))
        hashes += [found for found in (await uow.execute(of_token)).scalars() if found is not None]
        await close_session(uow, token)
    if hashes:
        await uow.execute(_delete().where(AuthSession.browser_hash.in_(hashes)))


async def revoke(uow: UnitOfWork, user_id: UUID, session_id: UUID) -> bool:
    """End one session of a person; False when they have no such session."""
    statement = _delete().where(AuthSession.id == session_id, AuthSession.user_id == user_id)
    return await uow.write(statement) == 1


async def revoke_all(uow: UnitOfWork, user_id: UUID, *, but: UUID | None = None) -> int:
    """End all sessions of a person, except perhaps one; how many."""
    statement = _delete().where(AuthSession.user_id == user_id)
    return await uow.write(statement if but is None else statement.where(AuthSession.id != but))


async def act_as(uow: UnitOfWork, session_id: UUID, customer_id: UUID, *, lifetime: timedelta) -> datetime:
    """Let an operator's session view a driver's account for ``lifetime``; until when."""
    statement = (
        _update()
        .where(AuthSession.id == session_id)
        .values(acting_as=customer_id, acting_until=func.now() + lifetime)
        .returning(AuthSession.acting_until)
    )
    until: datetime = (await uow.execute(statement)).scalar_one()
    return until


async def act_as_oneself(uow: UnitOfWork, session_id: UUID) -> None:
    """End viewing somebody else's account."""
    await uow.execute(_update().where(AuthSession.id == session_id).values(acting_as=None, acting_until=None))


async def delete_expired(uow: UnitOfWork) -> int:
    """Forget sessions that have ended; how many."""
    return await uow.write(_delete().where(AuthSession.expires_at < func.now()))


def _sessions(customer_lifetime: timedelta | None) -> Select[AuthSession, User, User, bool, datetime]:
    """Live sessions with their people and the driver whom an operator views."""
    viewed = and_(
        _Customer.id == AuthSession.acting_as,
        _Customer.role == Role.CUSTOMER,
        User.role == Role.ADMIN,
        AuthSession.acting_until > func.now(),
    )
    query = (
        select(
            AuthSession,
            User,
            _Customer,
            (AuthSession.last_seen_at > func.now() - SEEN_EVERY).label("seen_lately"),
            func.now().label("now"),
        )
        .join(User, User.id == AuthSession.user_id)
        .outerjoin(_Customer, viewed)
        .where(AuthSession.expires_at > func.now())
    )
    if customer_lifetime is not None:
        query = query.where(_young(customer_lifetime))
    return query


@cache
def _behind_token(customer_lifetime: timedelta | None) -> Select[AuthSession, User, User, bool, datetime]:
    """The session of ``:token_hash``. Nearly every request asks it, and putting it together costs more than asking."""
    return _sessions(customer_lifetime).where(AuthSession.token_hash == bindparam("token_hash"))


def _young(customer_lifetime: timedelta) -> ColumnElement[bool]:
    return or_(User.role != Role.CUSTOMER, AuthSession.created_at > func.now() - customer_lifetime)


def _signed_in(row: Row[Any]) -> SignedIn:
    values: tuple[Any, ...] = tuple(row)
    session, user, customer, seen_lately = values[:4]
    viewing = None if customer is None else Impersonation(customer, session.acting_until)
    return SignedIn(session=session, user=user, impersonation=viewing, seen_lately=seen_lately)


async def _insert(
    uow: UnitOfWork,
    user: User,
    token: str,
    *,
    lifetime: timedelta,
    remembered: bool = True,
    browser_hash: bytes | None = None,
    ip_address: str | None,
    user_agent: str | None,
) -> UUID:
    statement = (
        insert(AuthSession)
        .values(
            user_id=user.id,
            token_hash=_hash(token),
            expires_at=func.now() + lifetime,
            remembered=remembered,
            browser_hash=browser_hash,
            ip_address=ip_address,
            user_agent=user_agent,
        )
        .returning(AuthSession.id)
    )
    session_id: UUID = (await uow.execute(statement)).scalar_one()
    return session_id


async def _make_room(uow: UnitOfWork, old: bytes, new: bytes, user_id: UUID) -> None:
    """Rename a browser; end this person's session there and, if it is full, the one not seen for longest."""
    await uow.execute(_delete().where(AuthSession.browser_hash == old, AuthSession.user_id == user_id))
    await _park(uow, old)
    await uow.execute(_update().where(AuthSession.browser_hash == old).values(browser_hash=new))
    surplus = (
        select(AuthSession.id)
        .where(AuthSession.browser_hash == new)
        .order_by(AuthSession.last_seen_at.desc(), AuthSession.id)
        .offset(MAX_IN_BROWSER - 1)
    )
    await uow.execute(_delete().where(AuthSession.id.in_(surplus)))


async def _park(uow: UnitOfWork, browser_hash: bytes) -> None:
    """Take every token of a browser out of use."""
    unknown = func.sha256(text("convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')"))
    await uow.execute(_update().where(AuthSession.browser_hash == browser_hash).values(token_hash=unknown))


async def _is_due(uow: UnitOfWork, session_id: UUID) -> bool:
    due = AuthSession.expires_at < func.now() + (SESSION_LIFETIME - RENEW_AFTER)
    return bool((await uow.execute(select(due).where(AuthSession.id == session_id))).scalar_one_or_none())


def _update() -> Update:
    """Rows that were read stay as they were read: nobody may load anything of them later."""
    return update(AuthSession).execution_options(synchronize_session=False)


def _delete() -> Delete:
    return delete(AuthSession).execution_options(synchronize_session=False)


def known(token: str | None) -> TypeGuard[str]:
    """Whether a cookie holds something that may be a token of ours."""
    return bool(token) and len(token or "") <= MAX_TOKEN_LENGTH


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
