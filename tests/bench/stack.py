"""An authenticated GET through the whole gateway, against a bare FastAPI route that runs the same query.

Both run in a process of their own on the same database, one after the other in turns, and answer the same list of
charging sessions. ``python -m tests.bench.stack`` prints one JSON object.
"""

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import uvicorn
import uvloop
from fastapi import FastAPI
from sqlalchemy import insert, select

from gateway.sessions.repository import Filter
from gateway.sessions.schemas import SessionList
from gateway.sessions.service import list_sessions
from polaris_cli.embedded import EmbeddedPostgres, EmbeddedRedis
from polaris_common.db import Database
from polaris_common.db.pages import Paging
from polaris_common.identity.principals import Driver
from polaris_common.identity.sessions import cookie_name, open_session
from polaris_common.migrations.runner import upgrade
from polaris_common.models import ChargingSession, User
from polaris_common.settings import DatabaseSettings

SESSIONS, PAGE = 50, 25
CONNECTIONS, ROUNDS, SECONDS = 16, 5, 2.0
WANTED_RATIO = 0.5
PATH = f"/api/customer/sessions?limit={PAGE}"


def run() -> dict[str, object]:
    """Measure both in turns: requests a second of each, and what part of the bare route's the whole stack reaches."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="polaris-bench-"))
        redis = stack.enter_context(EmbeddedRedis())
        postgres = EmbeddedPostgres(Path(folder) / "data")
        stack.callback(postgres.stop)
        url = postgres.create_database("bench")
        cookie = uvloop.run(_populate(url))
        ports = _free_ports(2)
        whole = stack.enter_context(_process("gateway", _environment(url, redis.url, ports[0]), ports[0]))
        bare = stack.enter_context(_process("tests.bench.stack", _environment(url, redis.url, ports[1]), ports[1]))
        figures = uvloop.run(_measure({"whole": whole, "bare": bare}, cookie))
    ratio = figures["whole"] / figures["bare"]
    return {
        "wholeStackRequestsPerSecond": round(figures["whole"]),
        "bareRouteRequestsPerSecond": round(figures["bare"]),
        "ratio": round(ratio, 3),
        "enough": ratio >= WANTED_RATIO,
    }


async def _measure(ports: dict[str, int], cookie: str) -> dict[str, float]:
    request = f"GET {PATH} HTTP/1.1\r\nHost: app.localhost\r\nCookie: {cookie}\r\n\r\n".encode()
    rates: dict[str, list[float]] = {name: [] for name in ports}
    for port in ports.values():
        await _load(port, request, seconds=1.0)
    for _ in range(ROUNDS):
        for name, port in ports.items():
            rates[name].append(await _load(port, request, seconds=SECONDS))
    return {name: statistics.median(each) for name, each in rates.items()}


async def _load(port: int, request: bytes, *, seconds: float) -> float:
    """Requests a second over kept connections."""
    until = time.perf_counter() + seconds
    answered = await asyncio.gather(*(_ask(port, request, until) for _ in range(CONNECTIONS)))
    return sum(answered) / seconds


async def _ask(port: int, request: bytes, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = 0
    while time.perf_counter() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.split(b":")[1]))
        answered += 1
    writer.close()
    return answered


async def _populate(url: str) -> str:
    """A driver with sessions; the cookie that proves who they are."""
    database = Database(DatabaseSettings(database_url=url), application_name="bench")
    await upgrade(database)
    async with database.unit_of_work() as uow:
        person = {"public_id": "BENCH234", "name": "Ann", "email": "ann@example.org"}
        user = (await uow.execute(insert(User).values(person).returning(User))).scalar_one()
        began = datetime.now(UTC) - timedelta(days=30)
        rows = [
            {
                "steve_transaction_id": number,
                "charge_box_id": f"CP-{number % 5}",
                "connector_id": 1,
                "id_tag": "04A1B2C3",
                "started_at": began + timedelta(hours=number),
                "start_wh": 1_000 * number,
                "user_id": user.id,
            }
            for number in range(1, SESSIONS + 1)
        ]
        await uow.execute(insert(ChargingSession), rows)
        lifetime = timedelta(hours=1)
        token = await open_session(uow, user, lifetime=lifetime, ip_address=None, user_agent=None)
    await database.close()
    return f"{cookie_name(secure=False)}={token}"


def _environment(database_url: str, redis_url: str, port: int) -> dict[str, str]:
    return os.environ | {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "AUTH_SECRET": "a-secret-of-the-bench-with-32-characters",
        "ADMIN_BASE_URL": "http://manage.localhost",
        "CUSTOMER_BASE_URL": "http://app.localhost",
        "COOKIE_DOMAIN": "localhost",
        "RATE_LIMIT_SCALE": "1000",
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
    }


@contextmanager
def _process(module: str, environment: dict[str, str], port: int) -> Iterator[int]:
    arguments = ["--bare"] if module != "gateway" else []
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
                    break
            except (URLError, OSError):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def bare_app(database: Database) -> FastAPI:
    """FastAPI and the query, nothing else: no session, no limits, no middleware of ours."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await database.close()

    app = FastAPI(lifespan=lifespan)

    @app.get("/readyz")
    async def ready() -> dict[str, Any]:
        async with database.unit_of_work() as uow:
            driver["id"] = await uow.session.scalar(select(User.id))
        return {}

    driver: dict[str, Any] = {}

    @app.get("/api/customer/sessions")
    async def sessions(limit: int) -> SessionList:
        async with database.unit_of_work() as uow:
            return await list_sessions(uow, Driver(driver["id"]), Filter(), Paging(0, limit))

    return app


def serve_bare() -> None:
    """Serve the bare route as the gateway serves its own."""
    settings = DatabaseSettings()
    app = bare_app(Database(settings, application_name="bare"))
    port = int(os.environ["GATEWAY_PORT"])
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", log_config=None, access_log=False)


if __name__ == "__main__":
    if "--bare" in sys.argv:
        serve_bare()
    else:
        sys.stdout.write(f"{json.dumps(run())}\n")
