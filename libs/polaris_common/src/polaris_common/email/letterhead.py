"""What all mails of an installation have in common: senders, hosts, and the language where a person's is not known."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit
from uuid import UUID

from polaris_common.email.settings import EmailSettings
from polaris_common.email.templates import Brand, Hosts, MailContent, render
from polaris_common.email.transport import Mail
from polaris_common.settings import IdentitySettings


@dataclass(frozen=True)
class Letterhead:
    """An installation's own part of its mails."""

    drivers: str
    """Sender of mails to drivers."""
    operators: str
    """Sender of mails to operators."""
    reply_to: str | None
    hosts: Hosts
    locale: str = "en"
    time_zone: str = "UTC"

    @classmethod
    def of(cls, identity: IdentitySettings, email: EmailSettings) -> Self:
        """As configured; senders else made from the drivers' host."""
        host = urlsplit(identity.customer_base_url).hostname
        return cls(
            drivers=email.email_from or f"Polaris Express <noreply@{host}>",
            operators=email.email_from_admin or f"Polaris Express <admin-noreply@{host}>",
            reply_to=email.operator_contact_email,
            hosts=Hosts(drivers=identity.customer_base_url, operators=identity.admin_base_url),
            locale=email.email_locale,
            time_zone=email.email_time_zone,
        )

    def sender(self, brand: Brand) -> str:
        """The sender of a mail."""
        return self.operators if brand is Brand.OPERATORS else self.drivers

    def mail(
        self,
        content: MailContent,
        link: str,
        *,
        id: UUID,  # noqa: A002 - as Mail calls it
        to: str,
        locale: str | None = None,
        time_zone: str | None = None,
    ) -> Mail:
        """``content`` as a mail to ``to``.

        Raises:
            ValueError: ``link`` leads elsewhere than to our hosts.
            KeyError: there is no such time zone.
        """
        text = render(
            content,
            self.hosts.check(link),
            locale=locale or self.locale,
            time_zone=time_zone or self.time_zone,
        )
        return Mail(id, to, self.sender(content.brand), self.reply_to, content.category, text)
