"""The rules of the e-mail Worker: who may send what, and how often.

Protocol: ``POST /send`` with ``x-polaris-sig``, the lower-case hex HMAC-SHA256 of the exact body under secret A or B.
The body is ``{ts, nonce, to, subject, html, text, category, from, replyTo, headers?}`` with ``ts`` in milliseconds.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime

from polaris_sim.clock import SimClock
from polaris_sim.email_worker.wire import LONGEST_BODY, ReceivedMail, Refused, address_of, read_mail
from polaris_sim.faults import FaultPlan


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


@dataclass(frozen=True, kw_only=True)
class Mail(ReceivedMail):
    """A mail that the Worker accepted."""

    number: int
    received_at: datetime


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
                403 for a sender that is not allowed, 413 for a body that is too long, 429 above the limit per recipient
                and category.
        """
        try:
            return self._accept(body, signature)
        except Refused as refusal:
            self.refusals[refusal.error] = self.refusals.get(refusal.error, 0) + 1
            raise

    def _accept(self, body: bytes, signature: str | None) -> Mail:
        if len(body) > LONGEST_BODY:
            raise Refused(413, "body_too_large")
        self._check_signature(body, signature)
        received, now = read_mail(body), self.config.clock.now()
        if abs(now.timestamp() * 1000 - received.ts) > self.config.window_ms:
            raise Refused(401, "stale_timestamp")
        self._use_nonce(received, now.timestamp())
        if not self._may_send(received.sender):
            raise Refused(403, "sender_not_allowed")
        self._count(received.to, received.category, now.timestamp())
        return self._keep(received, now)

    def _check_signature(self, body: bytes, signature: str | None) -> None:
        secrets = [secret for secret in (self.config.secret_a, self.config.secret_b) if secret]
        given = (signature or "").encode()
        matches = [hmac.compare_digest(given, sign(secret, body).encode()) for secret in secrets]
        if not any(matches):
            raise Refused(401, "unauthorized")

    def _use_nonce(self, received: ReceivedMail, now: float) -> None:
        self._nonces = {known: until for known, until in self._nonces.items() if until > now}
        if received.nonce in self._nonces:
            raise Refused(409, "nonce_replayed")
        good_until = (received.ts + self.config.window_ms) / 1000 + 1
        self._nonces[received.nonce] = max(now + self.config.nonce_ttl_seconds, good_until)

    def _may_send(self, sender: str) -> bool:
        address = address_of(sender)
        return any(
            address.startswith(allowed) if allowed.endswith("@") else address == allowed
            for allowed in self.config.allowed_senders
        )

    def _count(self, to: str, category: str, now: float) -> None:
        key = (to.lower(), category)
        recent = [sent for sent in self._sent.get(key, ()) if sent > now - self.config.rate_limit_window_seconds]
        if len(recent) >= self.config.rate_limit_max:
            raise Refused(429, "rate_limited")
        self._sent[key] = [*recent, now]

    def _keep(self, received: ReceivedMail, now: datetime) -> Mail:
        mail = Mail(**vars(received), number=len(self.mails) + 1, received_at=now)
        self.mails.append(mail)
        return mail


def sign(secret: str, body: bytes) -> str:
    """The value of ``x-polaris-sig`` for ``body``."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
