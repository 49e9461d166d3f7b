"""Handing mails to the e-mail Worker (contract §5.4).

``POST {CF_EMAIL_WORKER_URL}/send`` with the lower-case hex HMAC-SHA256 of the exact body in ``x-polaris-sig``. Each try
has a nonce of its own: a mail that arrives twice is better than one that never does.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets

import httpx
import structlog

from polaris_common.clock import Clock, SystemClock
from polaris_common.email.transport import SENT, TIMEOUT_SECONDS, Delivery, Fate, Mail
from polaris_common.http.transport import create_client

NONCE_BYTES = 16
_HOPELESS = frozenset({400, 403, 413, 422})
_ERROR_CODE = re.compile(r"[A-Za-z_]{1,60}")

log = structlog.get_logger(__name__)


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
            return Delivery(Fate.LATER, type(error).__name__)
        if response.is_success:
            return SENT
        reason = f"{response.status_code} {_error_code(response)}".rstrip()
        log.warning("mail_not_sent", category=mail.category, error=reason)
        return Delivery(Fate.NEVER if response.status_code in _HOPELESS else Fate.LATER, reason)

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


def _error_code(response: httpx.Response) -> str:
    """The machine-readable code in the Worker's answer, or nothing: other texts may name the recipient."""
    try:
        code = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return code if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else ""
