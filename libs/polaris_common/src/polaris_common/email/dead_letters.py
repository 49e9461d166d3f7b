"""Mails that were given up: what operators see of them, and trying them again."""

from uuid import UUID

from sqlalchemy import func, select, update

from polaris_common.db import UnitOfWork
from polaris_common.models import OutgoingMail


async def dead_mails(uow: UnitOfWork, *, limit: int) -> list[OutgoingMail]:
    """What was given up, the latest first."""
    query = (
        select(OutgoingMail)
        .where(OutgoingMail.dead_at.is_not(None))
        .order_by(OutgoingMail.dead_at.desc(), OutgoingMail.id)
        .limit(limit)
    )
    return list((await uow.execute(query)).scalars())


async def revive(uow: UnitOfWork, mail_id: UUID | None = None) -> int:
    """Have one mail that was given up, or all of them, tried again from the start; how many."""
    statement = (
        update(OutgoingMail)
        .where(OutgoingMail.dead_at.is_not(None), *([] if mail_id is None else [OutgoingMail.id == mail_id]))
        .values(dead_at=None, attempts=0, next_attempt_at=func.now())
        .returning(OutgoingMail.id)
    )
    return len((await uow.execute(statement)).all())
