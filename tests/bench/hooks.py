"""Load for HTTP routes: kept connections that send prepared requests, either one after the other or at a given rate.

The requests are made before the clock runs, so that the generator costs little beside the server on the same machine.
"""

import asyncio
import hashlib
import hmac
import json
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import cast

from tests.bench.population import box, card

KEY = "bench-key-of-at-least-32-characters!"
TRANSACTIONS = 1_000
FIRST_SAMPLE = datetime(2026, 1, 1, tzinfo=UTC)
SAMPLES_A_BODY = 2
WARM_SECONDS = 0.5
CLOSE_SECONDS = 5.0


@dataclass(frozen=True)
class Measured:
    """What came of a load."""

    per_second: float
    failed: int
    p50_ms: float
    p99_ms: float
    generator_busy: float
    """The part of the time that the generator itself used a processor: near 1 it is what was measured."""


def taps(cards: int, boxes: int) -> list[bytes]:
    """Signed pre-authorize requests, one of each card, all over the fleet."""
    return [
        _signed(
            "pre-authorize",
            {"idTag": card(n), "chargeBoxId": box(n * 7 % boxes), "connectorId": 1, "isStartTx": False, "ts": n},
        )
        for n in range(cards)
    ]


def meter_values(count: int, *, after: int = 0) -> list[bytes]:
    """Signed meter-values requests with two samples each, every one of another moment of a thousand transactions."""
    return [_signed("meter-values", _element(n)) for n in range(after, after + count)]


async def one_after_the_other(port: int, requests: Iterable[bytes], *, seconds: float, connections: int) -> Measured:
    """As much as goes: each connection sends the next request when its last one is answered."""
    load = _Load(cycle(requests) if isinstance(requests, Sequence) else iter(requests))
    transports = await _connect(port, load, connections)
    for connection in load.connections:
        connection.send_next()
    await asyncio.sleep(WARM_SECONDS)
    measured = await _measure(load, seconds)
    await _close(load, transports)
    return measured


async def at_rate(
    port: int, requests: Sequence[bytes], *, per_second: float, seconds: float, connections: int = 16
) -> Measured:
    """So many a second whatever the server does; latencies count from the moment that a request was due."""
    load = _Load(cycle(requests))
    transports = await _connect(port, load, connections)
    load.idle = list(load.connections)
    pacer = asyncio.create_task(_pace(load, 1 / per_second))
    await asyncio.sleep(WARM_SECONDS)
    measured = await _measure(load, seconds)
    pacer.cancel()
    await asyncio.gather(pacer, return_exceptions=True)
    await _close(load, transports)
    return measured


class _Load:
    """What to send and what came of it."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self.requests = requests
        self.connections: list[_Connection] = []
        self.due: list[float] = []
        self.idle: list[_Connection] | None = None
        """Connections that wait for their next request to be due; None: they need not wait."""
        self.stopping = False
        self.ok = self.failed = 0
        self.latencies: list[float] = []

    def answered(self, connection: "_Connection", ok: bool, seconds: float) -> None:
        self.ok += ok
        self.failed += not ok
        self.latencies.append(seconds)
        if self.stopping:
            return
        if self.idle is None:
            connection.send_next()
        elif self.due:
            connection.send_next(self.due.pop(0))
        else:
            self.idle.append(connection)


class _Connection(asyncio.Protocol):
    """One kept connection."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = bytearray()
        self._since = 0.0
        self.quiet = asyncio.Event()
        self.quiet.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.quiet.is_set():
            self.quiet.set()
            self._load.failed += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._buffer) < end + 4 + length:
            return
        self._buffer.clear()
        self.quiet.set()
        self._load.answered(self, head[9:12] == b"200", time.perf_counter() - self._since)

    def send_next(self, since: float | None = None) -> None:
        self._since = since or time.perf_counter()
        if self._transport is not None and (request := next(self._load.requests, None)) is not None:
            self.quiet.clear()
            self._transport.write(request)


async def _connect(port: int, load: _Load, connections: int) -> list[asyncio.BaseTransport]:
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port) for _ in range(connections)]
    load.connections = [protocol for _, protocol in made]
    return [transport for transport, _ in made]


async def _measure(load: _Load, seconds: float) -> Measured:
    load.ok = load.failed = 0
    load.latencies.clear()
    began, used = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    took, busy = time.perf_counter() - began, time.process_time() - used
    latencies = sorted(load.latencies) or [float("inf")]
    return Measured(
        per_second=load.ok / took,
        failed=load.failed,
        p50_ms=statistics.median(latencies) * 1000,
        p99_ms=latencies[int(len(latencies) * 0.99)] * 1000,
        generator_busy=busy / took,
    )


async def _close(load: _Load, transports: Iterable[asyncio.BaseTransport]) -> None:
    """Let what is under way be answered: nobody is to count it as sent and lost."""
    load.stopping = True
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await asyncio.gather(*(connection.quiet.wait() for connection in load.connections))
    for transport in transports:
        transport.close()


async def _pace(load: _Load, pause: float) -> None:
    due = time.perf_counter()
    while True:
        due += pause
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        if load.idle:
            load.idle.pop().send_next(due)
        else:
            load.due.append(due)


def _element(number: int) -> dict[str, object]:
    moment = FIRST_SAMPLE + timedelta(seconds=number // TRANSACTIONS)
    transaction = 1 + number % TRANSACTIONS
    return {
        "chargeBoxId": box(transaction - 1),
        "transactionPk": transaction,
        "connectorId": 1,
        "timestamp": f"{moment:%Y-%m-%dT%H:%M:%S}.000Z",
        "samples": [
            {"value": str(1_000 + number), "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
            {"value": "11000", "measurand": "Power.Active.Import", "unit": "W"},
        ],
    }


def _signed(hook: str, content: dict[str, object]) -> bytes:
    body = json.dumps(content, separators=(",", ":")).encode()
    signature = hmac.digest(KEY.encode(), body, hashlib.sha256).hex()
    head = (
        f"POST /api/ocpp/{hook} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
        f"X-Signature: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
