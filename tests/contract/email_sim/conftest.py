"""A simulated e-mail Worker and a sender that signs as the notifier does."""

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest

from polaris_sim.clock import SimClock
from polaris_sim.email_worker import EmailWorkerConfig, EmailWorkerSimulator, create_app, sign

NOW = datetime(2026, 8, 21, 10, tzinfo=UTC)
SECRET_A, SECRET_B = "a" * 32, "b" * 32


class Sender:
    """Sends signed mails to the Worker."""

    def __init__(self) -> None:
        self.clock = SimClock(NOW, speed=0)
        self.worker = EmailWorkerSimulator(
            EmailWorkerConfig(secret_a=SECRET_A, secret_b=SECRET_B, clock=self.clock, allowed_senders=("noreply@",))
        )
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(self.worker)), base_url="http://mail.test"
        )
        self._nonces = 0

    def mail(self, **fields: object) -> dict[str, object]:
        """A valid mail; ``fields`` change it."""
        self._nonces += 1
        return {
            "ts": int(self.clock.now().timestamp() * 1000),
            "nonce": f"nonce-{self._nonces}-{time.monotonic_ns()}",
            "to": "ada@example.com",
            "subject": "Sign in",
            "html": "<p>Hello</p>",
            "text": "Hello",
            "category": "magic-link",
            "from": "Polaris <noreply@example.com>",
            "replyTo": "support@example.com",
            **fields,
        }

    async def send(self, mail: dict[str, object], *, secret: str = SECRET_A) -> httpx.Response:
        """``POST /send``."""
        body = json.dumps(mail).encode()
        return await self.http.post("/send", content=body, headers={"x-polaris-sig": sign(secret, body)})

    async def stored(self, query: str = "") -> list[dict[str, object]]:
        """The mails in the mailbox."""
        mails: list[dict[str, object]] = (await self.http.get(f"/_sim/mails{query}")).json()["mails"]
        return mails


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    """A sender with secret A."""
    sender = Sender()
    yield sender
    await sender.http.aclose()
