"""The queue of mails, as its sender sees it."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, text, update

from polaris_common.db import UnitOfWork
from polaris_common.models import OutgoingMail, User

LEASE = timedelta(seconds=60)
"""So long a mail belongs to the sender that took it; when that one dies, another takes it again."""

RECIPIENT_LIMIT, RECIPIENT_SECONDS = 5, 605
"""A recipient gets so many mails of a category in so long, as the Worker allows (5 in 600 s); more wait their turn."""

RETENTION_DAYS = 30

_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended('mail:' || lower(:recipient) || :category, 0))")
_FULL_UNTIL = text("""
    SELECT handed_at + make_interval(secs => :seconds) FROM outgoing_mails
    WHERE lower(recipient) = lower(:recipient) AND category = :category AND id <> :id
      AND handed_at > now() - make_interval(secs => :seconds)
    ORDER BY handed_at DESC OFFSET :limit - 1 LIMIT 1
""")

_DELETE_OLD = text(
    "DELETE FROM outgoing_mails WHERE created_at < now() - make_interval(days => :days)"
    " AND (sent_at IS NOT NULL OR dead_at IS NOT NULL)"
)


class MailRepository:
    """Every query on waiting mails."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def next_due(self) -> OutgoingMail | None:
        """The mail that has been due for longest, locked; others pass over it."""
        query = (
            select(OutgoingMail)
            .where(
                OutgoingMail.sent_at.is_(None),
                OutgoingMail.dead_at.is_(None),
                OutgoingMail.next_attempt_at <= func.now(),
            )
            .order_by(OutgoingMail.next_attempt_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        return (await self._uow.execute(query)).scalar_one_or_none()

    async def must_wait_until(self, mail: OutgoingMail) -> datetime | None:
        """When this recipient may get another mail of this category; None: now.

        Until the transaction ends nobody else decides this for the same recipient and category.
        """
        key = {"recipient": mail.recipient, "category": mail.category}
        await self._uow.execute(_ONE_AT_A_TIME, key)
        found = await self._uow.execute(
            _FULL_UNTIL, key | {"id": mail.id, "limit": RECIPIENT_LIMIT, "seconds": RECIPIENT_SECONDS}
        )
        until: datetime | None = found.scalar_one_or_none()
        return until

    async def take(self, mail: OutgoingMail) -> OutgoingMail:
        """It is the caller's until its lease ends."""
        statement = (
            update(OutgoingMail)
            .where(OutgoingMail.id == mail.id)
            .values(attempts=OutgoingMail.attempts + 1, next_attempt_at=func.now() + LEASE, handed_at=func.now())
            .returning(OutgoingMail)
            .execution_options(populate_existing=True)
        )
        taken: OutgoingMail = (await self._uow.execute(statement)).scalar_one()
        return taken

    async def wait_until(self, mail_id: UUID, moment: datetime) -> None:
        """It is due at ``moment``; that counts as no try."""
        await self._set(mail_id, next_attempt_at=moment)

    async def person(self, address: str) -> User | None:
        """Who has this address."""
        query = select(User).where(func.lower(User.email) == func.lower(address))
        return (await self._uow.execute(query)).scalar_one_or_none()

    async def sent(self, mail_id: UUID) -> None:
        """It is delivered; forget what it says."""
        await self._set(mail_id, sent_at=func.now(), context={}, last_error=None)

    async def given_up(self, mail_id: UUID, reason: str | None) -> None:
        """It is not tried again unless an operator says so."""
        await self._set(mail_id, dead_at=func.now(), last_error=reason)

    async def again(self, mail_id: UUID, reason: str | None, *, seconds: float) -> None:
        """Try again after ``seconds``."""
        await self._set(mail_id, next_attempt_at=func.now() + timedelta(seconds=seconds), last_error=reason)

    async def drop(self, mail_id: UUID) -> None:
        """Nobody is to get it."""
        await self._uow.execute(delete(OutgoingMail).where(OutgoingMail.id == mail_id))

    async def delete_old(self) -> int:
        """Forget mails that were finished long ago; how many."""
        return await self._uow.write(_DELETE_OLD, {"days": RETENTION_DAYS})

    async def _set(self, mail_id: UUID, **values: object) -> None:
        await self._uow.execute(update(OutgoingMail).where(OutgoingMail.id == mail_id).values(**values))
