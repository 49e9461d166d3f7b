"""The fork's two hooks: pre-authorize (SteVe waits 200 ms for it) and meter values (sent once, order not kept)."""

import asyncio
import hashlib
import hmac
import json
import logging
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import httpx

from polaris_sim.steve.config import HookConfig
from polaris_sim.steve.lean_http import LeanPoster

logger = logging.getLogger(__name__)

_MAX_WAITING = 2000


class Poster(Protocol):
    """Something that POSTs signed bodies to one URL."""

    async def post(self, body: bytes, signature: str) -> tuple[int, bytes]:
        """POST ``body`` with ``X-Signature``; return status and body."""
        ...

    def close(self) -> None:
        """Let go of connections."""


class HttpxPoster:
    """A poster over a given httpx client, for receivers that run in the same process."""

    def __init__(self, client: httpx.AsyncClient, url: str, host: str | None) -> None:
        self._client, self._url = client, url
        self._headers = {"Content-Type": "application/json"} | ({"Host": host} if host else {})

    async def post(self, body: bytes, signature: str) -> tuple[int, bytes]:
        """POST ``body`` with ``X-Signature``; return status and body."""
        headers = {**self._headers, "X-Signature": signature}
        response = await self._client.post(self._url, content=body, headers=headers)
        return response.status_code, response.content

    def close(self) -> None:
        """The client belongs to whoever gave it."""


@dataclass
class HookCounters:
    """What became of the hooks. ``sent`` counts attempts, so sent = ok + failed + those in flight."""

    sent: int = 0
    ok: int = 0
    failed: int = 0
    dropped: int = 0
    duplicated: int = 0


def sign(key: str, body: bytes) -> str:
    """``X-Signature``: lower-case hex HMAC-SHA256 over the exact bytes."""
    return hmac.digest(key.encode(), body, hashlib.sha256).hex()


class HookSender:
    """Sends both hooks. Meter values wait in memory; callers that send many await ``room()`` in between."""

    def __init__(self, config: HookConfig, *, by_default: bool, client: httpx.AsyncClient | None = None) -> None:
        self._by_default, self._client = by_default, client
        self.pre_authorize_counters = HookCounters()
        self.meter_values_counters = HookCounters()
        self._waiting: deque[bytes] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._idle, self._room = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._room.set()
        self._posters: dict[str, Poster] = {}
        self.configure(config)

    def configure(self, config: HookConfig) -> None:
        """Put another configuration in force; what waits is sent by the new one. The dice start again."""
        self.close_connections()
        self.config = config
        self._dice = random.Random(config.seed)
        self.pre_authorize_on = self._is_on(config.pre_authorize_url, config.pre_authorize_enabled)
        self.meter_values_on = self._is_on(config.meter_values_url, config.meter_values_enabled)

    async def pre_authorize(
        self, *, id_tag: str, charge_box_id: str, connector_id: int | None, is_start_tx: bool, ts: int
    ) -> str | None:
        """Ask the pre-authorize hook: ``"BLOCKED"``, or None when it has no objection, is off or does not answer."""
        if not self.pre_authorize_on:
            return None
        payload = {
            "idTag": id_tag,
            "chargeBoxId": charge_box_id,
            "connectorId": connector_id,
            "isStartTx": is_start_tx,
            "ts": ts,
        }
        config, counters = self.config, self.pre_authorize_counters
        counters.sent += 1
        try:
            async with asyncio.timeout(config.timeout_seconds):
                status, answer = await self._post(config.pre_authorize_url, config.pre_authorize_key, _encode(payload))
            override = _override(status, answer)
        except (OSError, TimeoutError, httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            counters.failed += 1
            logger.warning("pre-authorize failed, SteVe's own decision stands: %r", error)
            return None
        counters.ok += 1
        return "BLOCKED" if override == "BLOCKED" else None

    def meter_values(
        self,
        *,
        charge_box_id: str,
        transaction_pk: int,
        connector_id: int,
        timestamp: str,
        samples: Sequence[Mapping[str, str]],
    ) -> None:
        """Queue one MeterValue element for the meter-values hook; it is sent at most once."""
        if not self.meter_values_on:
            return
        if self.config.drop and self._dice.random() < self.config.drop:
            self.meter_values_counters.dropped += 1
            return
        body = _encode(
            {
                "chargeBoxId": charge_box_id,
                "transactionPk": transaction_pk,
                "connectorId": connector_id,
                "timestamp": timestamp,
                "samples": samples,
            }
        )
        self._enqueue(body)
        if self.config.duplicate and self._dice.random() < self.config.duplicate:
            self.meter_values_counters.duplicated += 1
            self._enqueue(body)

    @property
    def in_flight(self) -> int:
        """Meter-value hooks that wait or are being sent."""
        return len(self._waiting) + len(self._workers)

    async def room(self) -> None:
        """Wait until few enough meter values wait that more may be queued."""
        if len(self._waiting) >= _MAX_WAITING:
            self._room.clear()
            await self._room.wait()

    async def drained(self) -> None:
        """Wait until no meter-value hook waits or is in flight."""
        await self._idle.wait()

    def counters(self) -> dict[str, dict[str, int]]:
        """All counters by hook."""
        return {"preAuthorize": asdict(self.pre_authorize_counters), "meterValues": asdict(self.meter_values_counters)}

    def close_connections(self) -> None:
        """Close kept connections; the next hook opens new ones."""
        for poster in self._posters.values():
            poster.close()
        self._posters = {}

    async def aclose(self) -> None:
        """Give up what waits and stop."""
        self._waiting.clear()
        self._room.set()
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self.close_connections()

    def _is_on(self, url: str | None, enabled: bool | None) -> bool:
        return url is not None and (self._by_default if enabled is None else enabled)

    def _enqueue(self, body: bytes) -> None:
        self._waiting.append(body)
        if len(self._workers) < self.config.concurrency:
            self._add_worker()

    def _add_worker(self) -> None:
        worker = asyncio.get_running_loop().create_task(self._work())
        self._workers.add(worker)
        self._idle.clear()
        worker.add_done_callback(self._worker_done)

    def _worker_done(self, worker: asyncio.Task[None]) -> None:
        """A worker found nothing left to do; what came in since needs a new one."""
        self._workers.discard(worker)
        if self._waiting:
            self._add_worker()
        elif not self._workers:
            self._idle.set()

    async def _work(self) -> None:
        counters = self.meter_values_counters
        while self._waiting:
            body = self._take()
            if len(self._waiting) < _MAX_WAITING // 2:
                self._room.set()
            config = self.config
            counters.sent += 1
            try:
                async with asyncio.timeout(config.meter_values_timeout_seconds):
                    status, _ = await self._post(config.meter_values_url, config.meter_values_key, body)
            except (OSError, TimeoutError, httpx.HTTPError, ValueError):
                status = 0
            if 200 <= status < 300:
                counters.ok += 1
            else:
                counters.failed += 1

    def _take(self) -> bytes:
        if self.config.shuffle:
            self._waiting.rotate(-self._dice.randrange(len(self._waiting)))
        return self._waiting.popleft()

    async def _post(self, url: str | None, key: str, body: bytes) -> tuple[int, bytes]:
        if url is None:
            raise ValueError("the hook has no URL")
        poster = self._posters.get(url) or self._open(url)
        return await poster.post(body, sign(key + "-wrong" if self.config.wrong_key else key, body))

    def _open(self, url: str) -> Poster:
        host = self.config.host
        poster: Poster = LeanPoster(url, host=host) if self._client is None else HttpxPoster(self._client, url, host)
        self._posters[url] = poster
        return poster


def _encode(payload: Mapping[str, object]) -> bytes:
    return json.dumps(payload, separators=(",", ":")).encode()


def _override(status: int, answer: bytes) -> object:
    if not 200 <= status < 300:
        raise ValueError(f"the receiver answered {status}")
    return json.loads(answer)["override"]
