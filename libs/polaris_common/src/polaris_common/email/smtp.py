"""Handing mails to an SMTP server, for installations without the Worker."""

import asyncio
import re
import ssl
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, parseaddr

import structlog
from aiosmtplib import SMTP
from aiosmtplib.errors import (
    SMTPAuthenticationError,
    SMTPDataError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)

from polaris_common.clock import Clock, SystemClock
from polaris_common.email.settings import SmtpSecurity, SmtpServer
from polaris_common.email.transport import SENT, TIMEOUT_SECONDS, Delivery, Fate, Mail

LONGEST_SECONDS = 30.0
"""For all steps of one mail together; each has ``TIMEOUT_SECONDS``."""

_ENHANCED_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\b")
_ABOUT_THE_MAIL = (SMTPRecipientRefused, SMTPSenderRefused, SMTPDataError)
"""Only these say something about the mail; a 5xx to a greeting or a password says something about the server."""

log = structlog.get_logger(__name__)


class SmtpMail:
    """The server of ``SMTP_HOST``; one connection a mail."""

    def __init__(
        self, server: SmtpServer, *, clock: Clock | None = None, tls_context: ssl.SSLContext | None = None
    ) -> None:
        self._server, self._clock, self._tls_context = server, clock or SystemClock(), tls_context

    async def send(self, mail: Mail) -> Delivery:
        """Try once. 4xx, no answer and a refused password are worth another try, 5xx to the mail itself is not."""
        try:
            async with asyncio.timeout(LONGEST_SECONDS), self._connection() as connection:
                await connection.send_message(self._message(mail))
        except (SMTPException, OSError, ValueError) as error:
            outcome = _failed(error)
            log.warning("mail_not_sent", category=mail.category, error=outcome.reason)
            return outcome
        return SENT

    async def close(self) -> None:
        """Nothing stays open."""

    def _connection(self) -> SMTP:
        server = self._server
        return SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=None if server.password is None else server.password.get_secret_value(),
            use_tls=server.security is SmtpSecurity.TLS,
            start_tls=server.security is SmtpSecurity.STARTTLS,
            tls_context=self._tls_context,
            timeout=TIMEOUT_SECONDS,
        )

    def _message(self, mail: Mail) -> EmailMessage:
        """As multipart/alternative; ``EmailMessage`` refuses a header with a line break."""
        message = EmailMessage(policy=SMTP_POLICY)
        message["From"] = mail.sender
        message["To"] = mail.to
        message["Reply-To"] = mail.reply_to or mail.sender
        message["Subject"] = mail.text.subject
        message["Date"] = format_datetime(self._clock.now())
        # The same in every try, so that a mail that was taken twice may be shown once.
        message["Message-ID"] = f"<{mail.id}@{parseaddr(mail.sender)[1].rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(mail.text.text.replace("\r\n", "\n"))
        message.add_alternative(mail.text.html, subtype="html")
        return message


def _failed(error: SMTPException | OSError | ValueError) -> Delivery:
    if isinstance(error, SMTPRecipientsRefused):
        error = error.recipients[0]
    if isinstance(error, SMTPAuthenticationError):
        return Delivery(Fate.LATER, f"{error.code} authentication")
    if isinstance(error, SMTPResponseException):
        enhanced = _ENHANCED_CODE.match(error.message)
        reason = f"{error.code} {enhanced[0] if enhanced else ''}".rstrip()
        hopeless = isinstance(error, _ABOUT_THE_MAIL) and 500 <= error.code < 600
        return Delivery(Fate.NEVER if hopeless else Fate.LATER, reason)
    # An address that cannot be written into a header; a certificate that does not hold is an OSError as well.
    hopeless = isinstance(error, ValueError) and not isinstance(error, OSError)
    return Delivery(Fate.NEVER if hopeless else Fate.LATER, type(error).__name__)
