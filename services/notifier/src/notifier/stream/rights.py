"""What a stream rests on: a sign-in session or a device's token. Looked at again with every heartbeat."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from polaris_common.db import UnitOfWork
from polaris_common.identity.devices import DeviceRepository
from polaris_common.identity.impersonation import ImpersonationRepository
from polaris_common.identity.sessions import standing_sessions


@dataclass(frozen=True, slots=True)
class SessionRight:
    """A session in a role; for an operator perhaps with the driver whose account they view."""

    session_id: UUID
    role: str
    viewing: UUID | None = None
    named: bool = False
    """The request names whom they view (``?as=``); else the session does, and only for its time."""


@dataclass(frozen=True, slots=True)
class TokenRight:
    """A device's token."""

    token_id: UUID


Right = SessionRight | TokenRight


async def standing(uow: UnitOfWork, rights: Collection[Right], *, customer_lifetime: timedelta) -> set[Right]:
    """Those of ``rights`` that still stand, by the database's clock."""
    sessions = [right for right in rights if isinstance(right, SessionRight)]
    tokens = [right for right in rights if isinstance(right, TokenRight)]
    found: set[Right] = set()
    if sessions:
        found.update(await _standing_sessions(uow, sessions, customer_lifetime))
    if tokens:
        live = await DeviceRepository(uow).live_tokens({right.token_id for right in tokens})
        found.update(right for right in tokens if right.token_id in live)
    return found


async def _standing_sessions(
    uow: UnitOfWork, rights: list[SessionRight], customer_lifetime: timedelta
) -> list[SessionRight]:
    known = await standing_sessions(uow, {right.session_id for right in rights}, customer_lifetime=customer_lifetime)
    named = {right.viewing for right in rights if right.named and right.viewing is not None}
    drivers = await ImpersonationRepository(uow).customers(named) if named else set()

    def stands(right: SessionRight) -> bool:
        session = known.get(right.session_id)
        if session is None or session.role != right.role:
            return False
        if right.named:
            return right.viewing in drivers
        return right.viewing is None or right.viewing == session.acting_as

    return [right for right in rights if stands(right)]
