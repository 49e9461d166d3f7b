"""Delivering mails: at least once, with growing pauses, and given up in the end.

A mail is taken in one transaction and handed to the transport outside of any. Dying in between costs its lease, not the
mail. A link's token is made when its mail is taken, for a person who has the right role at that moment.
"""

from datetime import timedelta

import structlog

from notifier.mail.repository import MailRepository
from notifier.mail.writing import MailWriter
from notifier.metrics import MAILS
from polaris_common.clock import Clock, SystemClock
from polaris_common.db import Database, UnitOfWork
from polaris_common.email.transport import Fate, Mail, MailTransport
from polaris_common.events.catalogue import OperatorNotice
from polaris_common.http.transport import backoff_seconds
from polaris_common.models import OutgoingMail
from polaris_common.side_by_side import side_by_side

ENOUGH_ATTEMPTS = 12
PATIENCE = timedelta(hours=24)
"""A mail is given up after both: an outage of some hours costs none, and a wrong secret can be put right."""
FIRST_PAUSE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 900.0
AT_A_TIME = 4

log = structlog.get_logger(__name__)


class MailSender:
    """Sends what is due."""

    def __init__(
        self, database: Database, transport: MailTransport, writer: MailWriter, *, clock: Clock | None = None
    ) -> None:
        self._database, self._transport, self._writer = database, transport, writer
        self._clock = clock or SystemClock()

    async def send_due(self) -> None:
        """Send until nothing is due; a slow answer holds up one of several senders.

        Raises:
            OSError, SQLAlchemyError: the database is away; what was taken comes again when its lease has ended.
        """
        if not await self._send_one():
            return
        await side_by_side(*(self._drain() for _ in range(AT_A_TIME)))

    async def _drain(self) -> None:
        while await self._send_one():
            pass

    async def forget_old(self) -> None:
        """Delete mails that were finished long ago."""
        async with self._database.unit_of_work() as uow:
            await MailRepository(uow).delete_old()

    async def _send_one(self) -> bool:
        """Whether anything was due."""
        async with self._database.unit_of_work() as uow:
            repository = MailRepository(uow)
            row = await repository.next_due()
            if row is None:
                return False
            until = await repository.must_wait_until(row)
            if until is not None:
                await repository.wait_until(row.id, until)
                MAILS.labels("delayed").inc()
                return True
            row = await repository.take(row)
            mail = await self._written(uow, row)
        if mail is not None:
            await self._deliver(row, mail)
        return True

    async def _deliver(self, row: OutgoingMail, mail: Mail) -> None:
        delivery = await self._transport.send(mail)
        async with self._database.unit_of_work() as uow:
            repository = MailRepository(uow)
            if delivery.fate is Fate.SENT:
                await repository.sent(row.id)
                MAILS.labels("sent").inc()
            elif delivery.fate is Fate.NEVER or self._enough(row):
                await self._give_up(uow, row, delivery.reason or "no reason given")
            else:
                MAILS.labels("later").inc()
                pause = backoff_seconds(row.attempts - 1, base=FIRST_PAUSE_SECONDS, ceiling=LONGEST_PAUSE_SECONDS)
                await repository.again(row.id, delivery.reason, seconds=FIRST_PAUSE_SECONDS + pause)

    async def _give_up(self, uow: UnitOfWork, row: OutgoingMail, reason: str) -> None:
        """And tell operators, in the app: mails are what does not work."""
        log.error("mail_given_up", mail_id=str(row.id), category=row.category, attempts=row.attempts, reason=reason)
        await MailRepository(uow).given_up(row.id, reason)
        uow.emit(
            OperatorNotice(
                kind="mail_given_up", severity="error", source_type="system", source_id=row.category, detail=reason
            )
        )
        MAILS.labels("given_up").inc()

    def _enough(self, row: OutgoingMail) -> bool:
        return row.attempts >= ENOUGH_ATTEMPTS and self._clock.now() - row.created_at >= PATIENCE

    async def _written(self, uow: UnitOfWork, row: OutgoingMail) -> Mail | None:
        """The mail; None when nobody is to get it or nobody can write it."""
        try:
            mail = await self._writer.write(uow, row)
        except (KeyError, ValueError) as error:
            await self._give_up(uow, row, f"{row.template} cannot be written, {type(error).__name__}")
            return None
        if mail is None:
            await MailRepository(uow).drop(row.id)
        return mail
