"""The rules of Apple's push service: which requests it takes, and what it says of the others.

From Apple's "Sending notification requests to APNs" and "Handling notification responses from APNs".
"""

import base64
import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from polaris_sim.clock import SimClock

MAX_PAYLOAD_BYTES = 4096
MAX_COLLAPSE_ID_BYTES = 64
PROVIDER_TOKEN_SECONDS = 3600
_DEVICE_TOKEN = re.compile(r"/3/device/([0-9a-f]{64,200})")
_PRIORITIES = {"alert": {"10", "5"}, "background": {"5"}}


class Trouble(StrEnum):
    """What goes wrong with one request."""

    ANSWER = "answer"
    """An answer of ``status`` and ``reason``; the push is not taken."""
    SILENCE = "silence"
    """The push is taken and never answered."""
    DROP = "drop"
    """The connection is dropped; the push is not taken."""
    GO_AWAY = "go_away"
    """The connection is given up in order (GOAWAY) before this request, which is not taken."""
    RESET = "reset"
    """The one stream is reset; the push is not taken."""


@dataclass(frozen=True)
class Fault:
    """One request's bad luck."""

    trouble: Trouble
    status: int = 500
    reason: str = "InternalServerError"


@dataclass(frozen=True)
class Push:
    """A push that was taken."""

    device_token: str
    headers: Mapping[str, str]
    payload: Mapping[str, Any]
    provider: Mapping[str, Any]
    """The claims of the provider's token."""
    provider_header: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """A status, and Apple's word for what is wrong."""

    status: int
    reason: str | None = None

    @property
    def body(self) -> bytes:
        """As JSON; empty when all is well."""
        if self.reason is None:
            return b""
        fields: dict[str, object] = {"reason": self.reason}
        if self.status == 410:
            fields["timestamp"] = 0
        return json.dumps(fields).encode()


@dataclass
class ApnsConfig:
    """The account that the simulator knows, with a key of its own making."""

    key_id: str = "SIMKEY0001"
    team_id: str = "SIMTEAM001"
    topic: str = "com.example.expresscharge.ios"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    clock: SimClock = field(default_factory=SimClock)

    @property
    def key_base64(self) -> str:
        """The ``.p8`` file that Apple would hand out, in base64."""
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return base64.b64encode(pem).decode()


class ApnsSimulator:
    """Takes pushes and keeps them instead of delivering them."""

    def __init__(self, config: ApnsConfig | None = None) -> None:
        self.config = config or ApnsConfig()
        self.pushes: list[Push] = []
        self.requests = 0
        """Requests that came, taken or not."""
        self.unregistered: set[str] = set()
        """Device tokens of apps that were removed."""
        self.faults: deque[Fault] = deque()
        """What happens to the next requests, one each."""

    def take(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Check one request and keep the push."""
        if method != "POST":
            return Answer(405, "MethodNotAllowed")
        found = _DEVICE_TOKEN.fullmatch(path)
        if found is None:
            return Answer(400, "BadDeviceToken") if path.startswith("/3/device/") else Answer(404, "BadPath")
        refusal, header, claims = self._provider(headers.get("authorization", ""))
        refusal = refusal or self._headers(headers) or _payload(body)
        if refusal is not None:
            return refusal
        if found[1] in self.unregistered:
            return Answer(410, "Unregistered")
        self.pushes.append(Push(found[1], dict(headers), json.loads(body), claims, header))
        return Answer(200)

    def _provider(self, authorization: str) -> tuple[Answer | None, dict[str, Any], dict[str, Any]]:
        if not authorization.startswith("bearer "):
            return Answer(403, "MissingProviderToken"), {}, {}
        token = authorization.removeprefix("bearer ")
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(
                token, self.config.key.public_key(), algorithms=["ES256"], options={"verify_iat": False}
            )
        except jwt.PyJWTError:
            return Answer(403, "InvalidProviderToken"), {}, {}
        if header.get("kid") != self.config.key_id or claims.get("iss") != self.config.team_id:
            return Answer(403, "InvalidProviderToken"), {}, {}
        age = self.config.clock.now().timestamp() - claims.get("iat", 0)
        if not -PROVIDER_TOKEN_SECONDS < age < PROVIDER_TOKEN_SECONDS:
            return Answer(403, "ExpiredProviderToken"), {}, {}
        return None, header, claims

    def _headers(self, headers: Mapping[str, str]) -> Answer | None:
        if headers.get("apns-topic") != self.config.topic:
            return Answer(400, "TopicDisallowed" if "apns-topic" in headers else "MissingTopic")
        priorities = _PRIORITIES.get(headers.get("apns-push-type", ""))
        if priorities is None:
            return Answer(400, "InvalidPushType")
        if headers.get("apns-priority", "10") not in priorities:
            return Answer(400, "BadPriority")
        if not headers.get("apns-expiration", "0").isdigit():
            return Answer(400, "BadExpirationDate")
        if len(headers.get("apns-collapse-id", "").encode()) > MAX_COLLAPSE_ID_BYTES:
            return Answer(400, "BadCollapseId")
        return None


def _payload(body: bytes) -> Answer | None:
    if not body:
        return Answer(400, "PayloadEmpty")
    if len(body) > MAX_PAYLOAD_BYTES:
        return Answer(413, "PayloadTooLarge")
    try:
        payload = json.loads(body)
    except ValueError:
        return Answer(400, "BadMessage")
    return None if isinstance(payload, dict) and "aps" in payload else Answer(400, "BadMessage")
