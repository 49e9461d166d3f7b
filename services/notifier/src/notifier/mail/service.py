"""Delivering mails: at least once, with growing pauses, and given up in the end.

A mail is taken in one transaction and handed to the Worker outside of any. Dying in between costs its lease, not the
mail. A link's token is made when its mail is taken, for a person who has the right role at that moment.
"""

import structlog

from notifier.mail.repository import MailRepository
from notifier.mail.writing import MailWriter
from polaris_common.db import Database, UnitOfWork
from polaris_common.email.worker import Delivery, Mail, MailTransport
from polaris_common.http.transport import backoff_seconds
from polaris_common.models import OutgoingMail

MAX_ATTEMPTS = 8
FIRST_PAUSE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 900.0

log = structlog.get_logger(__name__)


class MailSender:
    """Sends what is due."""

    def __init__(self, database: Database, transport: MailTransport, writer: MailWriter) -> None:
        self._database, self._transport, self._writer = database, transport, writer

    async def send_due(self) -> None:
        """Send until nothing is due."""
        while await self._send_one():
            pass

    async def forget_old(self) -> None:
        """Delete mails that were finished long ago."""
        async with self._database.unit_of_work() as uow:
            await MailRepository(uow).delete_old()

    async def _send_one(self) -> bool:
        """Whether anything was due."""
        async with self._database.unit_of_work() as uow:
            row = await MailRepository(uow).take()
            if row is None:
                return False
            mail = await self._written(uow, row)
        if mail is not None:
            await self._deliver(row, mail)
        return True

    async def _deliver(self, row: OutgoingMail, mail: Mail) -> None:
        delivery = await self._transport.send(mail)
        async with self._database.unit_of_work() as uow:
            repository = MailRepository(uow)
            if delivery is Delivery.SENT:
                await repository.sent(row.id)
            elif delivery is Delivery.NEVER or row.attempts >= MAX_ATTEMPTS:
                log.error("mail_given_up", mail_id=str(row.id), category=row.category, attempts=row.attempts)
                await repository.given_up(row.id)
            else:
                pause = backoff_seconds(row.attempts - 1, base=FIRST_PAUSE_SECONDS, ceiling=LONGEST_PAUSE_SECONDS)
                await repository.again(row.id, seconds=FIRST_PAUSE_SECONDS + pause)

    async def _written(self, uow: UnitOfWork, row: OutgoingMail) -> Mail | None:
        """The mail; None when nobody is to get it or nobody can write it."""
        try:
            mail = await self._writer.write(uow, row)
        except (KeyError, ValueError) as error:
            log.error("mail_cannot_be_written", template=row.template, error=type(error).__name__)
            await MailRepository(uow).given_up(row.id)
            return None
        if mail is None:
            await MailRepository(uow).drop(row.id)
        return mail
