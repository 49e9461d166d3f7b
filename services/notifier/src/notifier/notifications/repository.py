"""What the projector reads besides the event log: its cursor, and who there is to tell."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, literal, select, text, update

from polaris_common.db import UnitOfWork
from polaris_common.models import EventCursor, Role, User

CURSOR = "notifications"

_UNTOLD = text("""
SELECT r.last_seq - c.seq FROM event_relay AS r, event_cursors AS c WHERE r.id = 1 AND c.name = :name
""")


async def count_untold(uow: UnitOfWork) -> int:
    """How many events nobody has looked at."""
    return await uow.session.scalar(_UNTOLD, {"name": CURSOR}) or 0


async def take_cursor(uow: UnitOfWork) -> int | None:
    """How far the log has been turned into notifications, held until this unit of work ends; None: another is at it."""
    query = select(EventCursor.seq).where(EventCursor.name == CURSOR).with_for_update(skip_locked=True)
    return (await uow.execute(query)).scalar_one_or_none()


async def move_cursor(uow: UnitOfWork, seq: int) -> None:
    """Everything up to ``seq`` is done."""
    await uow.execute(update(EventCursor).where(EventCursor.name == CURSOR).values(seq=seq))


async def people(uow: UnitOfWork, ids: Iterable[UUID]) -> list[User]:
    """Those of these people who still have an account, in an order that is always the same."""
    query = select(User).where(User.id == any_(literal(list(ids), ARRAY(Uuid())))).order_by(User.id)
    return list((await uow.session.scalars(query)).all())


async def operators(uow: UnitOfWork) -> list[User]:
    """Every operator."""
    return list((await uow.session.scalars(select(User).where(User.role == Role.ADMIN).order_by(User.id))).all())
