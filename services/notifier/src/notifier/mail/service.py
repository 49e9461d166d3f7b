"""Delivering mails: at least once, with growing pauses, and given up in the end.

A mail is taken in one transaction and handed to the Worker outside of any. Dying in between costs its lease, not the
mail. A link's token is made when its mail is taken, for a person who has the right role at that moment.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from jinja2 import TemplateError

from notifier.mail.repository import MailRepository
from polaris_common.db import Database, UnitOfWork
from polaris_common.email.queue import TokenLink
from polaris_common.email.templates import TEMPLATES, Brand, MailTemplate, render
from polaris_common.email.worker import Delivery, Mail, MailTransport
from polaris_common.http.transport import backoff_seconds
from polaris_common.identity import one_time
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.models import OutgoingMail, Role, TokenPurpose
from polaris_common.settings import EmailSettings, IdentitySettings

MAX_ATTEMPTS = 8
FIRST_PAUSE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 900.0

_WRONG_ROLE = {
    TokenPurpose.MAGIC_LINK: AuditEvent.MAGIC_LINK_WRONG_SURFACE,
    TokenPurpose.PASSWORD_RESET: AuditEvent.PASSWORD_RESET_FOR_NON_ADMIN,
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Senders:
    """Whose name mails carry."""

    drivers: str
    operators: str
    reply_to: str | None

    @classmethod
    def of(cls, identity: IdentitySettings, email: EmailSettings) -> "Senders":
        """As configured, else made from the drivers' host."""
        host = urlsplit(identity.customer_base_url).hostname
        return cls(
            drivers=email.email_from or f"Polaris Express <noreply@{host}>",
            operators=email.email_from_admin or f"Polaris Express <admin-noreply@{host}>",
            reply_to=email.operator_contact_email,
        )

    def of_brand(self, brand: Brand) -> str:
        """The sender of a mail."""
        return self.operators if brand is Brand.OPERATORS else self.drivers


class MailSender:
    """Sends what is due."""

    def __init__(self, database: Database, transport: MailTransport, senders: Senders, audit: Audit) -> None:
        self._database, self._transport, self._senders, self._audit = database, transport, senders, audit

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
        """The mail's text; None when nobody is to get it or nobody can write it."""
        repository = MailRepository(uow)
        try:
            template = TEMPLATES[row.template]
            link = await self._link(uow, row)
            if row.context["link"] is not None and link is None:
                await repository.drop(row.id)
                return None
            return self._mail(row, template, link)
        except (KeyError, ValueError, TemplateError) as error:
            log.error("mail_cannot_be_written", template=row.template, error=type(error).__name__)
            await repository.given_up(row.id)
            return None

    def _mail(self, row: OutgoingMail, template: MailTemplate, link: str | None) -> Mail:
        return Mail(
            to=row.recipient,
            sender=self._senders.of_brand(template.brand),
            reply_to=self._senders.reply_to,
            category=row.category,
            text=render(template, row.context["values"], link),
        )

    async def _link(self, uow: UnitOfWork, row: OutgoingMail) -> str | None:
        """Where the button leads, with a fresh token; None also when the recipient may not have it."""
        stored = row.context["link"]
        if stored is None or isinstance(stored, str):
            return stored
        link = TokenLink.read(stored)
        person = await MailRepository(uow).person(row.recipient)
        if person is None:
            return None
        if person.role != link.role:
            await self._audit_wrong_role(uow, row, link, Role(person.role))
            return None
        token = await one_time.issue(
            uow,
            link.purpose,
            lifetime=link.lifetime,
            user_id=person.id,
            payload=link.payload | {"email": row.recipient.lower()},
        )
        return link.address + token

    async def _audit_wrong_role(self, uow: UnitOfWork, row: OutgoingMail, link: TokenLink, role: Role) -> None:
        event = _WRONG_ROLE.get(link.purpose)
        if event is not None:
            origin = Origin(**row.context["origin"])
            await self._audit.record(uow, event, origin, email=row.recipient, reason=f"{role}_email")
