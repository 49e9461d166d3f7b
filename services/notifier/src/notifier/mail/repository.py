"""The queue of mails, as its sender sees it."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, text, update

from polaris_common.db import UnitOfWork
from polaris_common.models import OutgoingMail, User

LEASE = timedelta(seconds=60)
"""So long a mail belongs to the sender that took it; when that one dies, another takes it again."""

RETENTION_DAYS = 30

_DELETE_OLD = text(
    "DELETE FROM outgoing_mails WHERE created_at < now() - make_interval(days => :days)"
    " AND (sent_at IS NOT NULL OR dead_at IS NOT NULL)"
)


class MailRepository:
    """Every query on waiting mails."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def take(self) -> OutgoingMail | None:
        """The mail that has been due for longest; it is the caller's until its lease ends."""
        due = (
            select(OutgoingMail.id)
            .where(
                OutgoingMail.sent_at.is_(None),
                OutgoingMail.dead_at.is_(None),
                OutgoingMail.next_attempt_at <= func.now(),
            )
            .order_by(OutgoingMail.next_attempt_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        statement = (
            update(OutgoingMail)
            .where(OutgoingMail.id.in_(due.scalar_subquery()))
            .values(attempts=OutgoingMail.attempts + 1, next_attempt_at=func.now() + LEASE)
            .returning(OutgoingMail)
        )
        return (await self._uow.execute(statement)).scalar_one_or_none()

    async def person(self, address: str) -> User | None:
        """Who has this address."""
        query = select(User).where(func.lower(User.email) == func.lower(address))
        return (await self._uow.execute(query)).scalar_one_or_none()

    async def sent(self, mail_id: UUID) -> None:
        """It is delivered; forget what it says."""
        await self._set(mail_id, sent_at=func.now(), context={})

    async def given_up(self, mail_id: UUID) -> None:
        """It will not be delivered; forget what it says."""
        await self._set(mail_id, dead_at=func.now(), context={})

    async def again(self, mail_id: UUID, *, seconds: float) -> None:
        """Try again after ``seconds``."""
        await self._set(mail_id, next_attempt_at=func.now() + timedelta(seconds=seconds))

    async def drop(self, mail_id: UUID) -> None:
        """Nobody is to get it."""
        await self._uow.execute(delete(OutgoingMail).where(OutgoingMail.id == mail_id))

    async def delete_old(self) -> int:
        """Forget mails that were finished long ago; how many."""
        return await self._uow.write(_DELETE_OLD, {"days": RETENTION_DAYS})

    async def _set(self, mail_id: UUID, **values: object) -> None:
        await self._uow.execute(update(OutgoingMail).where(OutgoingMail.id == mail_id).values(**values))
