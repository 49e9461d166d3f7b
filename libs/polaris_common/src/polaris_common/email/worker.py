"""Handing mails to the e-mail Worker (contract §5.4), or to the log where there is none in development.

``POST {CF_EMAIL_WORKER_URL}/send`` with the lower-case hex HMAC-SHA256 of the exact body in ``x-polaris-sig``. Each try
has a nonce of its own: a mail that arrives twice is better than one that never does.
"""

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import httpx
import structlog

from polaris_common.clock import Clock, SystemClock
from polaris_common.email.templates import MailText
from polaris_common.http.transport import create_client
from polaris_common.settings import EmailSettings

TIMEOUT_SECONDS = 10.0
NONCE_BYTES = 16
_HOPELESS = frozenset({400, 403, 413, 422})

log = structlog.get_logger(__name__)


class Delivery(StrEnum):
    """What became of one try."""

    SENT = "sent"
    LATER = "later"
    """No answer, an overload or a wrong secret: worth another try."""
    NEVER = "never"
    """The Worker will not have it, however often it is tried."""


@dataclass(frozen=True)
class Mail:
    """A mail, ready to go."""

    to: str
    sender: str
    reply_to: str | None
    category: str
    text: MailText


class MailTransport(Protocol):
    """Where mails go."""

    async def send(self, mail: Mail) -> Delivery:
        """Try once."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class EmailWorker:
    """The Worker behind ``CF_EMAIL_WORKER_URL``."""

    def __init__(
        self, url: str, secret: str, *, clock: Clock | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._secret, self._clock = secret.encode(), clock or SystemClock()
        self._http = create_client(url, read_seconds=TIMEOUT_SECONDS, transport=transport)

    async def send(self, mail: Mail) -> Delivery:
        """Try once, for at most 10 s."""
        body = self._body(mail)
        signature = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        headers = {"content-type": "application/json", "x-polaris-sig": signature}
        try:
            response = await self._http.post("/send", content=body, headers=headers)
        except httpx.TransportError as error:
            log.warning("mail_not_sent", category=mail.category, error=type(error).__name__)
            return Delivery.LATER
        if response.is_success:
            return Delivery.SENT
        log.warning("mail_not_sent", category=mail.category, status=response.status_code)
        return Delivery.NEVER if response.status_code in _HOPELESS else Delivery.LATER

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _body(self, mail: Mail) -> bytes:
        nonce = base64.urlsafe_b64encode(secrets.token_bytes(NONCE_BYTES)).rstrip(b"=").decode()
        fields = {
            "ts": int(self._clock.now().timestamp() * 1000),
            "nonce": nonce,
            "to": mail.to,
            "subject": mail.text.subject,
            "html": mail.text.html,
            "text": mail.text.text,
            "category": mail.category,
            "from": mail.sender,
            "replyTo": mail.reply_to or mail.sender,
        }
        return json.dumps(fields, ensure_ascii=False).encode()


class ConsoleMail:
    """Shows mails in the log instead of sending them. For development: what it shows signs people in."""

    async def send(self, mail: Mail) -> Delivery:
        """Always well."""
        log.info("mail", to=mail.to, subject=mail.text.subject, body=mail.text.text)
        return Delivery.SENT

    async def close(self) -> None:
        """Nothing is open."""


def mail_transport(settings: EmailSettings) -> MailTransport | None:
    """The transport that ``settings`` ask for; None where no mail can be sent."""
    if settings.cf_email_worker_url is not None and settings.cf_email_worker_secret is not None:
        return EmailWorker(settings.cf_email_worker_url, settings.cf_email_worker_secret.get_secret_value())
    return ConsoleMail() if settings.mail_enabled else None
