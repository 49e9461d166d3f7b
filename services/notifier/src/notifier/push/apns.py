"""Apple's push service over HTTP/2: one connection per environment, one try per call.

``POST /3/device/{token}``; what it answers is told, never raised. Nothing is sent again here once it may have arrived.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import httpx
import structlog

from notifier.push.messages import Message
from notifier.push.provider_token import ProviderToken
from polaris_common.clock import Clock, SystemClock
from polaris_common.settings import ApnsSettings

ANSWER_SECONDS = 5.0
TOTAL_SECONDS = 10.0
IDLE_SECONDS = 60.0
"""How long a connection that is not used is kept; one kept for longer may have died unnoticed."""

JWT_SIGN_FAILED = "JwtSignFailed"
NETWORK_ERROR = "NetworkError"
_DEAD_TOKEN = frozenset({"Unregistered", "BadDeviceToken"})
_NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_EXPIRED_TOKEN = "ExpiredProviderToken"  # noqa: S105 - Apple's word for it
_GONE, _TOO_MANY = 410, 429

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class PushResult:
    """What became of one try."""

    reason: str | None = None
    """Why it was not taken: Apple's word, ``HTTP_{status}``, ``JwtSignFailed`` or ``NetworkError``; None: it was."""
    token_is_dead: bool = False
    """The app is gone, or the token was never good: nothing is to be sent there any more."""
    may_be_tried_again: bool = False
    """It certainly was not delivered, and a later try may fare better."""

    @property
    def ok(self) -> bool:
        """Whether Apple has taken it."""
        return self.reason is None


@dataclass(frozen=True)
class Address:
    """Where a device is reached."""

    token: str
    """Lower-case hex."""
    environment: str | None
    """``sandbox`` or ``production``; unknown counts as production."""


class PushTransport(Protocol):
    """Where pushes go."""

    async def send(self, to: Address, message: Message, *, push_id: UUID) -> PushResult:
        """Try once."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Apns:
    """Apple's push service."""

    def __init__(self, settings: ApnsSettings, *, clock: Clock | None = None) -> None:
        self._provider = ProviderToken(settings, clock or SystemClock())
        self._topic = settings.apns_topic
        ca_file = settings.apns_ca_file
        trusted = httpx.create_ssl_context() if ca_file is None else ssl.create_default_context(cafile=ca_file)
        self._production = _client(settings.apns_production_url, trusted)
        self._sandbox = _client(settings.apns_sandbox_url, trusted)

    async def send(self, to: Address, message: Message, *, push_id: UUID) -> PushResult:
        """Try once, for at most 10 s; a second time only when our own token was what Apple found too old."""
        result = await self._try(to, message, push_id)
        if result.reason == _EXPIRED_TOKEN and self._provider.renew():
            result = await self._try(to, message, push_id)
        if not result.ok:
            log.warning("push_not_sent", push_type=message.push_type, reason=result.reason)
        return result

    async def close(self) -> None:
        """Close the connections."""
        await self._production.aclose()
        await self._sandbox.aclose()

    async def _try(self, to: Address, message: Message, push_id: UUID) -> PushResult:
        bearer = self._provider.current()
        if bearer is None:
            return PushResult(JWT_SIGN_FAILED)
        http = self._sandbox if to.environment == "sandbox" else self._production
        headers = {
            "authorization": f"bearer {bearer}",
            "apns-id": str(push_id),
            "apns-topic": self._topic,
            "apns-push-type": message.push_type,
            "apns-priority": str(message.priority),
            "apns-expiration": str(int(message.expires_at.timestamp())),
            "apns-collapse-id": message.collapse_id,
        }
        body = json.dumps(message.payload, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                answer = await http.post(f"/3/device/{to.token}", content=body, headers=headers)
        except _NEVER_LEFT:
            return PushResult(NETWORK_ERROR, may_be_tried_again=True)
        except (httpx.TransportError, TimeoutError):
            return PushResult(NETWORK_ERROR)
        return _result(answer)


def _client(url: str, trusted: ssl.SSLContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        http1=False,
        http2=True,
        verify=trusted,
        timeout=httpx.Timeout(ANSWER_SECONDS, connect=ANSWER_SECONDS, pool=ANSWER_SECONDS),
        limits=httpx.Limits(max_connections=2, keepalive_expiry=IDLE_SECONDS),
        follow_redirects=False,
        trust_env=False,
    )


def _result(answer: httpx.Response) -> PushResult:
    if answer.is_success:
        return PushResult()
    reason = _reason(answer) or f"HTTP_{answer.status_code}"
    return PushResult(
        reason,
        token_is_dead=answer.status_code == _GONE or reason in _DEAD_TOKEN,
        may_be_tried_again=answer.status_code == _TOO_MANY or answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR,
    )


def _reason(answer: httpx.Response) -> str | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    reason = body.get("reason") if isinstance(body, Mapping) else None
    return reason if isinstance(reason, str) and reason.isalnum() else None
