"""Load for the two hooks: many kept connections, each sending the next body when the last is answered.

Starts a gateway process with an embedded PostgreSQL and Redis of its own and prints one JSON object.

    python tests/bench/hooks.py [--seconds 8] [--connections 128]
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast
from urllib.request import urlopen

import uvloop

from polaris_cli.embedded import EmbeddedPostgres, EmbeddedRedis
from polaris_common.db import Database
from polaris_common.migrations.runner import upgrade
from polaris_common.settings import DatabaseSettings

KEY = "bench-key-of-at-least-32-characters!"
TRANSACTIONS = 1000


class Connection(asyncio.Protocol):
    """One kept connection that sends body after body."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = bytearray()
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first body."""
        self._transport = cast(asyncio.WriteTransport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Count an answer and send the next body."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._buffer) < end + 4 + length:
            return
        self._load.answered(head[9:12] == b"200", time.perf_counter() - self._sent_at)
        self._buffer.clear()
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        if self._transport is not None:
            self._transport.write(self._load.next_request())


class Load:
    """What to send and what came of it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._number = 0
        self.ok = self.failed = 0
        self.latencies: list[float] = []

    def next_request(self) -> bytes:
        """The next signed request."""
        self._number += 1
        body = json.dumps(self._body(self._number), separators=(",", ":")).encode()
        signature = hmac.digest(KEY.encode(), body, hashlib.sha256).hex()
        return (
            f"POST {self._path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
            f"X-Signature: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def answered(self, ok: bool, seconds: float) -> None:
        """Count one answer."""
        self.ok += ok
        self.failed += not ok
        self.latencies.append(seconds)

    def _body(self, number: int) -> dict[str, object]:
        if self._path.endswith("pre-authorize"):
            return {"idTag": f"T{number % 500}", "chargeBoxId": "CP-1", "connectorId": 1, "isStartTx": False, "ts": 1}
        moment = 1_767_225_600 + number // TRANSACTIONS
        return {
            "chargeBoxId": f"CP-{number % TRANSACTIONS}",
            "transactionPk": 1 + number % TRANSACTIONS,
            "connectorId": 1,
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(moment)),
            "samples": [
                {"value": str(1000 + number), "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
                {"value": "11000", "measurand": "Power.Active.Import", "unit": "W"},
            ],
        }


async def measure(port: int, path: str, *, seconds: float, connections: int) -> dict[str, object]:
    """Send for ``seconds`` over ``connections``."""
    load = Load(path)
    loop = asyncio.get_running_loop()
    transports = [
        (await loop.create_connection(lambda: Connection(load), "127.0.0.1", port))[0] for _ in range(connections)
    ]
    await asyncio.sleep(1)  # warm
    load.ok = load.failed = 0
    load.latencies.clear()
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    ok, failed, latencies = load.ok, load.failed, sorted(load.latencies)
    for transport in transports:
        transport.close()
    return {
        "requestsPerSecond": round(ok / took),
        "failed": failed,
        "p50Ms": round(statistics.median(latencies) * 1000, 2),
        "p99Ms": round(latencies[int(len(latencies) * 0.99)] * 1000, 2),
    }


def start_gateway(database_url: str, redis_url: str, port: int) -> "subprocess.Popen[bytes]":
    """One gateway process, ready."""
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "AUTH_SECRET": KEY,
        "ADMIN_BASE_URL": "http://manage.localhost",
        "CUSTOMER_BASE_URL": "http://app.localhost",
        "COOKIE_DOMAIN": "localhost",
        "STEVE_PREAUTH_HMAC_KEY": KEY,
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, "-m", "gateway"], env=environment)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
                return process
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise SystemExit("the gateway did not start")


async def migrate(database_url: str) -> None:
    """Make the tables."""
    database = Database(DatabaseSettings(database_url=database_url), application_name="bench")
    await upgrade(database)
    await database.close()


def main() -> None:
    """Measure both hooks and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--connections", type=int, default=128)
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis() as redis:
        postgres = EmbeddedPostgres(Path(folder) / "pg")
        try:
            url = postgres.create_database("bench")
            uvloop.run(migrate(url))
            gateway = start_gateway(url, redis.url, port)
            try:
                figures = {
                    path: uvloop.run(
                        measure(port, f"/api/ocpp/{path}", seconds=options.seconds, connections=options.connections)
                    )
                    for path in ("pre-authorize", "meter-values")
                }
            finally:
                gateway.terminate()
                gateway.wait()
        finally:
            postgres.stop()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
