"""The rules of the e-mail Worker: who may send what, and how often.

Protocol: ``POST /send`` with ``x-polaris-sig``, the lower-case hex HMAC-SHA256 of the exact body under secret A or B.
The body is ``{ts, nonce, to, subject, html, text, category, from, replyTo, headers?}`` with ``ts`` in milliseconds.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parseaddr

from polaris_sim.clock import SimClock
from polaris_sim.faults import FaultPlan

_REQUIRED = ("nonce", "to", "subject", "html", "text", "category", "from")


@dataclass
class EmailWorkerConfig:
    """The settings of a simulated Worker."""

    secret_a: str = "email-sim-secret-of-32-characters"
    secret_b: str | None = None
    """Accepted too while the secret is being changed."""
    allowed_senders: tuple[str, ...] = ("noreply@", "admin-noreply@")
    """Full addresses, or a local part with ``@`` for any domain."""
    window_ms: int = 300_000
    nonce_ttl_seconds: int = 600
    rate_limit_max: int = 5
    rate_limit_window_seconds: int = 600
    clock: SimClock = field(default_factory=SimClock)
    faults: FaultPlan = field(default_factory=FaultPlan)


@dataclass(frozen=True)
class Mail:
    """A mail that the Worker accepted."""

    number: int
    received_at: datetime
    to: str
    sender: str
    reply_to: str | None
    subject: str
    html: str
    text: str
    category: str
    headers: dict[str, str]


class Refused(Exception):
    """A mail that is not sent: ``status`` and machine-readable ``error``."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(f"{status} {error}")
        self.status, self.error = status, error


class EmailWorkerSimulator:
    """Takes signed mails and keeps them instead of sending them."""

    def __init__(self, config: EmailWorkerConfig | None = None) -> None:
        self.config = config or EmailWorkerConfig()
        self.mails: list[Mail] = []
        self.refusals: dict[str, int] = {}
        self._nonces: dict[str, float] = {}
        self._sent: dict[tuple[str, str], list[float]] = {}

    def accept(self, body: bytes, signature: str | None) -> Mail:
        """Check and keep one mail.

        Raises:
            Refused: 401 for the signature and the time window, 409 for a replayed nonce, 400 for a malformed body,
                403 for a sender that is not allowed, 429 above the limit per recipient and category.
        """
        try:
            return self._accept(body, signature)
        except Refused as refusal:
            self.refusals[refusal.error] = self.refusals.get(refusal.error, 0) + 1
            raise

    def _accept(self, body: bytes, signature: str | None) -> Mail:
        self._check_signature(body, signature)
        fields = _fields(body)
        now = self.config.clock.now()
        timestamp = fields.get("ts")
        if not isinstance(timestamp, int) or any(not isinstance(fields.get(name), str) for name in _REQUIRED):
            raise Refused(400, "invalid_body")
        if abs(now.timestamp() * 1000 - timestamp) > self.config.window_ms:
            raise Refused(401, "stale_timestamp")
        texts = {name: str(fields[name]) for name in _REQUIRED}
        if "@" not in parseaddr(texts["to"])[1]:
            raise Refused(400, "invalid_body")
        self._use_nonce(texts["nonce"], now.timestamp())
        if not self._may_send(texts["from"]):
            raise Refused(403, "sender_not_allowed")
        self._count(texts["to"], texts["category"], now.timestamp())
        return self._keep(texts, fields, now)

    def _check_signature(self, body: bytes, signature: str | None) -> None:
        secrets = [secret for secret in (self.config.secret_a, self.config.secret_b) if secret]
        given = (signature or "").encode()
        matches = [hmac.compare_digest(given, sign(secret, body).encode()) for secret in secrets]
        if not any(matches):
            raise Refused(401, "unauthorized")

    def _use_nonce(self, nonce: str, now: float) -> None:
        self._nonces = {known: until for known, until in self._nonces.items() if until > now}
        if nonce in self._nonces:
            raise Refused(409, "nonce_replayed")
        self._nonces[nonce] = now + self.config.nonce_ttl_seconds

    def _may_send(self, sender: str) -> bool:
        address = parseaddr(sender)[1].lower()
        return any(
            address.startswith(allowed) if allowed.endswith("@") else address == allowed
            for allowed in self.config.allowed_senders
        )

    def _count(self, to: str, category: str, now: float) -> None:
        key = (parseaddr(to)[1].lower(), category)
        recent = [sent for sent in self._sent.get(key, ()) if sent > now - self.config.rate_limit_window_seconds]
        if len(recent) >= self.config.rate_limit_max:
            raise Refused(429, "rate_limited")
        self._sent[key] = [*recent, now]

    def _keep(self, texts: dict[str, str], fields: dict[str, object], now: datetime) -> Mail:
        reply_to, headers = fields.get("replyTo"), fields.get("headers")
        mail = Mail(
            number=len(self.mails) + 1,
            received_at=now,
            to=texts["to"],
            sender=texts["from"],
            reply_to=reply_to if isinstance(reply_to, str) else None,
            subject=texts["subject"],
            html=texts["html"],
            text=texts["text"],
            category=texts["category"],
            headers={str(name): str(value) for name, value in headers.items()} if isinstance(headers, dict) else {},
        )
        self.mails.append(mail)
        return mail


def sign(secret: str, body: bytes) -> str:
    """The value of ``x-polaris-sig`` for ``body``."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _fields(body: bytes) -> dict[str, object]:
    try:
        fields = json.loads(body)
    except ValueError:
        raise Refused(400, "invalid_json") from None
    if not isinstance(fields, dict):
        raise Refused(400, "invalid_body")
    return fields
