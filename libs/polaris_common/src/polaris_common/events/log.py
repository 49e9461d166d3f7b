"""Reading the event log."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import exists, func, select

from polaris_common.db import UnitOfWork
from polaris_common.models import DomainEventRow, EventRelay


async def last_seq(uow: UnitOfWork) -> int:
    """The highest number the relay has given so far."""
    return await uow.session.scalar(select(EventRelay.last_seq)) or 0


async def is_kept(uow: UnitOfWork, seq: int) -> bool:
    """Whether the event with this number is still in the log."""
    return bool(await uow.session.scalar(select(exists().where(DomainEventRow.seq == seq))))


async def first_seq(uow: UnitOfWork) -> int | None:
    """The lowest number that is still in the log; None when it is empty."""
    seq: int | None = await uow.session.scalar(select(func.min(DomainEventRow.seq)))
    return seq


async def reaches_back_to(uow: UnitOfWork, seq: int, *, newest: int) -> bool:
    """Whether everything after ``seq`` is kept, in a log that goes up to ``newest``; not if ``seq`` is ahead of it."""
    return seq == newest or (seq < newest and await is_kept(uow, seq + 1))


async def read_after(
    uow: UnitOfWork,
    seq: int,
    *,
    audiences: Sequence[str] | None = None,
    types: Sequence[str] | None = None,
    limit: int = 500,
) -> Sequence[Any]:
    """Numbered events after ``seq`` in order: rows of (seq, id, created_at, type, audience, payload).

    ``audiences``: only what at least one of these may see; None reads everything (for the hub, which filters itself).
    ``types``: only these; None reads all.
    """
    query = (
        select(
            DomainEventRow.seq,
            DomainEventRow.id,
            DomainEventRow.created_at,
            DomainEventRow.type,
            DomainEventRow.audience,
            DomainEventRow.payload,
        )
        .where(DomainEventRow.seq > seq)
        .order_by(DomainEventRow.seq)
        .limit(limit)
    )
    if audiences is not None:
        query = query.where(DomainEventRow.audience.overlap(list(audiences)))
    if types is not None:
        query = query.where(DomainEventRow.type.in_(types))
    return (await uow.execute(query)).all()
