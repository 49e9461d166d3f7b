"""From a waiting row to the mail that leaves: its sender, its words, and its button's link with a fresh token."""

from dataclasses import dataclass

from notifier.mail.repository import MailRepository
from polaris_common.db import UnitOfWork
from polaris_common.email.letterhead import Letterhead
from polaris_common.email.queue import queued_content, queued_origin
from polaris_common.email.templates import MailContent, PageMail, TokenLink, TokenMail
from polaris_common.email.transport import Mail
from polaris_common.identity import one_time
from polaris_common.identity.audit import Audit, AuditEvent
from polaris_common.models import OutgoingMail, Role, TokenPurpose

_WRONG_ROLE = {
    TokenPurpose.MAGIC_LINK: AuditEvent.MAGIC_LINK_WRONG_SURFACE,
    TokenPurpose.PASSWORD_RESET: AuditEvent.PASSWORD_RESET_FOR_NON_ADMIN,
}


@dataclass(frozen=True)
class MailWriter:
    """Writes waiting mails."""

    letterhead: Letterhead
    audit: Audit

    async def write(self, uow: UnitOfWork, row: OutgoingMail) -> Mail | None:
        """The mail; None when its recipient may not have it.

        Raises:
            KeyError, ValueError: nobody can write it, e.g. because another version queued it.
        """
        content = queued_content(row)
        link = await self._link(uow, row, content)
        if link is None:
            return None
        return self.letterhead.mail(
            content, link, id=row.id, to=row.recipient, locale=row.locale, time_zone=row.time_zone
        )

    async def _link(self, uow: UnitOfWork, row: OutgoingMail, content: MailContent) -> str | None:
        """Where the button leads."""
        match content:
            case TokenMail(link=link):
                return await self._token_link(uow, row, link)
            case PageMail():
                return self.letterhead.hosts.page(content.brand, content.page())
        raise ValueError(f"{content.name} has no button")

    async def _token_link(self, uow: UnitOfWork, row: OutgoingMail, link: TokenLink) -> str | None:
        """With a fresh token; None when the recipient may not have it."""
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
            await self.audit.record(uow, event, queued_origin(row), email=row.recipient, reason=f"{role}_email")
