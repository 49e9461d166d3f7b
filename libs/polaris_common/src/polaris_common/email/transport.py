"""How mails leave: the e-mail Worker, an SMTP server, or the log in development."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

import structlog

from polaris_common.email.templates import MailText

TIMEOUT_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Fate(StrEnum):
    """What became of one try."""

    SENT = "sent"
    LATER = "later"
    """No answer, an overload or a wrong secret: worth another try."""
    NEVER = "never"
    """It will not be taken, however often it is tried."""


@dataclass(frozen=True)
class Delivery:
    """One try's outcome."""

    fate: Fate
    reason: str | None = None
    """Why it was not sent, in few words that name no address and no secret."""


SENT = Delivery(Fate.SENT)


@dataclass(frozen=True)
class Mail:
    """A mail, ready to go."""

    id: UUID
    """The same in every try."""
    to: str
    sender: str
    reply_to: str | None
    category: str
    text: MailText


class MailTransport(Protocol):
    """Where mails go."""

    async def send(self, mail: Mail) -> Delivery:
        """Try once, for at most about 10 s; never raises for what the other side does."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class ConsoleMail:
    """Shows mails in the log instead of sending them. For development: what it shows signs people in."""

    async def send(self, mail: Mail) -> Delivery:
        """Always well."""
        log.info("mail", to=mail.to, subject=mail.text.subject, body=mail.text.text)
        return SENT

    async def close(self) -> None:
        """Nothing is open."""
