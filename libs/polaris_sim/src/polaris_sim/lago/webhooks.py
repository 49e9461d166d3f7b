"""Webhook endpoints and their delivery: signatures, three attempts, and the ways deliveries go wrong.

Only ``hmac`` is signed here; a ``jwt`` endpoint can be registered but its deliveries carry no signature header.
"""

import asyncio
import base64
import hashlib
import hmac
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlparse
from uuid import uuid4

import httpx

from polaris_sim.lago.config import LagoConfig
from polaris_sim.lago.errors import ALREADY_EXISTS, INVALID_VALUE, Invalid, NotFound
from polaris_sim.lago.webhook_types import WEBHOOK_TYPES
from polaris_sim.lago.wire import JsonObject, new_id, render, strings, text

ATTEMPTS = 3
ACCEPTED_STATUSES = {200, 201, 202, 204}
MAX_ENDPOINTS = 10

Payload = Callable[[], JsonObject]


@dataclass(eq=False)
class WebhookEndpoint:
    """An address that gets webhooks; ``event_types`` None means all of them."""

    url: str
    signature_algo: str
    created_at: int
    name: str | None = None
    event_types: list[str] | None = None
    lago_id: str = field(default_factory=new_id)

    def wants(self, webhook_type: str) -> bool:
        """Whether the endpoint subscribed to the type."""
        return self.event_types is None or "*" in self.event_types or webhook_type in self.event_types


@dataclass(eq=False)
class WebhookRecord:
    """One delivery to one endpoint: the same key and bytes on every attempt."""

    url: str
    webhook_type: str
    signature_algo: str
    body: bytes
    unique_key: str = field(default_factory=lambda: str(uuid4()))
    statuses: list[int | None] = field(default_factory=list)
    """The answer to each attempt; None when there was none."""

    @property
    def succeeded(self) -> bool:
        """Whether the receiver took it."""
        return any(status in ACCEPTED_STATUSES for status in self.statuses)


@dataclass
class _Job:
    webhook_type: str
    object_type: str
    payload: Payload


class Webhooks:
    """The endpoints of the organization and everything sent to them."""

    def __init__(self, config: LagoConfig, organization_id: str) -> None:
        self.endpoints: dict[str, WebhookEndpoint] = {}
        self.records: list[WebhookRecord] = []
        self.dropped = 0
        self._config, self._organization_id = config, organization_id
        self._waiting: list[_Job] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._dice = random.Random(config.seed)
        self._client: httpx.AsyncClient | None = None

    def register(self, body: JsonObject, now: int, endpoint: WebhookEndpoint | None = None) -> WebhookEndpoint:
        """Create an endpoint, or change ``endpoint``.

        Raises:
            Invalid: the URL is malformed or taken, the algorithm or a type is unknown, or there are ten already.
        """
        url = text(body, "webhook_url") or (endpoint.url if endpoint else "")
        algo = text(body, "signature_algo") or (endpoint.signature_algo if endpoint else "jwt")
        types = strings(body, "event_types") if body.get("event_types") is not None else None
        if urlparse(url).scheme not in ("http", "https"):
            raise Invalid({"webhook_url": ["url_invalid"]})
        if any(other.url == url and other is not endpoint for other in self.endpoints.values()):
            raise Invalid({"webhook_url": [ALREADY_EXISTS]})
        if algo not in ("jwt", "hmac"):
            raise Invalid({"signature_algo": [INVALID_VALUE]})
        if types and not set(types) <= WEBHOOK_TYPES | {"*"}:
            raise Invalid({"event_types": ["invalid_types"]})
        if endpoint is None:
            if len(self.endpoints) >= MAX_ENDPOINTS:
                raise Invalid({"base": ["exceeded_limit"]})
            endpoint = WebhookEndpoint(url, algo, now)
            self.endpoints[endpoint.lago_id] = endpoint
        endpoint.url, endpoint.signature_algo = url, algo
        endpoint.name = text(body, "name") if "name" in body else endpoint.name
        endpoint.event_types = types if "event_types" in body else endpoint.event_types
        return endpoint

    def endpoint(self, lago_id: str) -> WebhookEndpoint:
        """Find an endpoint.

        Raises:
            NotFound: there is none with that id.
        """
        found = self.endpoints.get(lago_id)
        if found is None:
            raise NotFound("webhook_endpoint")
        return found

    def emit(self, webhook_type: str, object_type: str, payload: Payload) -> None:
        """Queue a webhook; ``payload`` is called when the job runs and shows the object as it is then."""
        if any(endpoint.wants(webhook_type) for endpoint in self.endpoints.values()):
            self._waiting.append(_Job(webhook_type, object_type, payload))

    def kick(self) -> None:
        """Let the background jobs run, if there are any; needs a running loop."""
        if self._waiting:
            task = asyncio.get_running_loop().create_task(self._drain())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait until nothing is queued or being retried."""
        self.kick()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self.kick()

    async def send(self, webhook_type: str, object_type: str, content: JsonObject) -> list[WebhookRecord]:
        """Deliver one webhook to every endpoint now, retries included, whatever the switches say."""
        job = _Job(webhook_type, object_type, lambda: content)
        records = self._records_for(job)
        await asyncio.gather(*(self._deliver(record) for record in records))
        return records

    async def aclose(self) -> None:
        """Stop retrying and close the connections."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _drain(self) -> None:
        switches = self._config.webhooks
        if switches.out_of_order:
            await asyncio.sleep(switches.gather_seconds)
        jobs, self._waiting = self._waiting, []
        if switches.out_of_order:
            for job in reversed(jobs):
                await self._run(job)
        else:
            await asyncio.gather(*(self._run(job) for job in jobs))

    async def _run(self, job: _Job) -> None:
        for record in self._records_for(job):
            if self._dice.random() < self._config.webhooks.drop:
                self.dropped += 1
                continue
            await self._deliver(record)
            if self._config.webhooks.duplicate:
                await self._attempt(record)

    def _records_for(self, job: _Job) -> list[WebhookRecord]:
        content = {
            "webhook_type": job.webhook_type,
            "object_type": job.object_type,
            "organization_id": self._organization_id,
            job.object_type: job.payload(),
        }
        # Rails escapes these three, and the signature is over the escaped bytes.
        body = render(content).replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")
        records = [
            WebhookRecord(endpoint.url, job.webhook_type, endpoint.signature_algo, body)
            for endpoint in self.endpoints.values()
            if endpoint.wants(job.webhook_type)
        ]
        self.records += records
        return records

    async def _deliver(self, record: WebhookRecord) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            if await self._attempt(record) or attempt == ATTEMPTS:
                return
            wait = attempt**4 * (1 + 0.15 * self._dice.random()) + 2
            await asyncio.sleep(wait * self._config.webhooks.retry_scale)

    async def _attempt(self, record: WebhookRecord) -> bool:
        headers = {
            "content-type": "application/json",
            "x-lago-signature-algorithm": record.signature_algo,
            "x-lago-unique-key": record.unique_key,
        }
        if record.signature_algo == "hmac":
            headers["x-lago-signature"] = sign(self._config.webhook_secret, record.body)
        try:
            response = await self._http().post(record.url, content=record.body, headers=headers)
        except httpx.TransportError:
            record.statuses.append(None)
            return False
        record.statuses.append(response.status_code)
        return response.status_code in ACCEPTED_STATUSES

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(transport=self._config.webhook_transport, timeout=30, trust_env=False)
        return self._client


def sign(secret: str, body: bytes) -> str:
    """Lago's hmac signature: standard base64 of HMAC-SHA256 over the raw body."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
