"""Notifiers on real sockets, drivers with sessions, and things that happen to them."""

import asyncio
import itertools
import os
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import insert
from tests.integration.notifier.stream_client import PATIENCE_SECONDS, StreamClient
from tests.support.sql import WithDatabase

from notifier.process import Notifier
from notifier.server import StreamServer, listen
from notifier.settings import NotifierSettings
from notifier.stream.outlet import StreamProtocol
from polaris_common.db import Database
from polaris_common.events.catalogue import Audience, DomainEvent, SessionStarted, device_audience
from polaris_common.identity.devices import DeviceDetails, DeviceRepository, SecretVault
from polaris_common.identity.sessions import open_session
from polaris_common.ids import new_public_id
from polaris_common.models import ChargingSession, LiveMeter, Role, User


async def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds; fail after a while."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - any condition, also of objects without an event
            await asyncio.sleep(0.005)


class InLoopServer(StreamServer):
    """A server beside the test in one loop: the signals stay the test run's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@dataclass
class Replica:
    """A running notifier."""

    port: int
    notifier: Notifier
    server: StreamServer
    task: asyncio.Task[None]

    async def stop(self) -> None:
        """As SIGTERM would."""
        self.server.should_exit = True
        await asyncio.wait_for(self.task, PATIENCE_SECONDS)

    async def crash(self) -> None:
        """Every connection breaks off in the middle and nobody is told why."""
        for connection in tuple(self.server.server_state.connections):
            cast(StreamProtocol, connection).transport.abort()
        self.server.should_exit = self.server.force_exit = True
        await asyncio.wait_for(self.task, PATIENCE_SECONDS)


@dataclass(frozen=True)
class Phone:
    """A registered device."""

    id: UUID
    token: str
    token_id: UUID

    @property
    def audience(self) -> Audience:
        """Only it."""
        return Audience((device_audience(self.id),))


@dataclass(frozen=True)
class Person:
    """Somebody signed in."""

    user: User
    token: str

    @property
    def audience(self) -> Audience:
        """Only them."""
        return Audience((f"user:{self.user.id}",))


class StreamWorld(WithDatabase):
    """One database, one Redis, any number of notifiers and people."""

    def __init__(self, database: Database, database_url: str, redis_url: str) -> None:
        super().__init__(database)
        self._database_url, self.redis_url = database_url, redis_url
        self._stack = AsyncExitStack()
        self._numbers = itertools.count(1)

    def settings(self, **changes: Any) -> NotifierSettings:
        """Settings of a notifier in this world."""
        return NotifierSettings(**(self._values() | changes))

    def environment(self, **changes: str) -> dict[str, str]:
        """The same as environment variables, for a process."""
        values = {name.upper(): str(value) for name, value in self._values().items()}
        return {"PATH": os.environ["PATH"], **values, **changes}

    async def notifier(self, *, port: int = 0, small_buffers: bool = False, **changes: Any) -> Replica:
        """Start a notifier in this loop and wait until it listens."""
        listener = listen("127.0.0.1", port)
        if small_buffers:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        notifier = Notifier(self.settings(**changes))
        server = InLoopServer(notifier)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started or task.done())
        replica = Replica(listener.getsockname()[1], notifier, server, task)
        self._stack.push_async_callback(replica.stop)
        return replica

    @asynccontextmanager
    async def process(self, *, port: int, **environment: str) -> AsyncIterator[subprocess.Popen[str]]:
        """A notifier as a process of its own, ready to serve; killed at the end of the block."""
        process = start_process(self.environment(NOTIFIER_PORT=str(port), NOTIFIER_HOST="127.0.0.1", **environment))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), httpx.AsyncClient() as http:
                while not await _ready(http, port):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.02)
            yield process
        finally:
            process.kill()
            process.communicate()

    async def person(self, role: Role = Role.CUSTOMER) -> Person:
        """Somebody with a session."""
        async with self.database.unit_of_work() as uow:
            user = User(public_id=new_public_id(), role=role, email=f"{next(self._numbers)}@example.com")
            uow.session.add(user)
            await uow.session.flush()
            token = await open_session(uow, user, lifetime=timedelta(hours=1), ip_address=None, user_agent=None)
        return Person(user, token)

    async def phone(self, owner: Person) -> Phone:
        """A device of somebody's, with the app."""
        details = DeviceDetails("Phone", "iOS", "iPhone15,2", "18.0", "1.0", "sandbox")
        vault = SecretVault("a secret for tests, 32 characters")
        async with self.database.unit_of_work() as uow:
            devices = DeviceRepository(uow, vault)
            device = await devices.add(owner.user.id, details, ["user"])
            given = await devices.issue(device.id)
        return Phone(device.id, given.token, given.token_id)

    async def emit(self, *events: DomainEvent) -> None:
        """One transaction with these events."""
        async with self.database.unit_of_work() as uow:
            for event in events:
                uow.emit(event)

    async def charge(self, user_id: UUID | None, *, register_wh: int, start_wh: int, power_w: int) -> ChargingSession:
        """An open session with a live meter."""
        number = next(self._numbers)
        async with self.database.unit_of_work() as uow:
            session = ChargingSession(
                steve_transaction_id=1000 + number,
                charge_box_id="CP-1",
                connector_id=2,
                id_tag="04A1",
                started_at=datetime(2025, 3, 1, 12, tzinfo=UTC),
                start_wh=start_wh,
                user_id=user_id,
            )
            uow.session.add(session)
            await uow.execute(
                insert(LiveMeter).values(
                    steve_transaction_id=1000 + number,
                    charge_box_id="CP-1",
                    connector_id=2,
                    sampled_at=datetime(2025, 3, 1, 12, 30, tzinfo=UTC),
                    register_wh=register_wh,
                    power_w=power_w,
                )
            )
        return session

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[Redis]:
        """A client of this world's Redis."""
        client: Redis = Redis.from_url(self.redis_url)
        yield client
        await client.aclose()

    async def close(self) -> None:
        """Stop every notifier."""
        await self._stack.aclose()

    def _values(self) -> dict[str, Any]:
        return {
            "database_url": self._database_url,
            "database_pool_size": 5,
            "redis_url": self.redis_url,
            "auth_secret": "a secret for tests, 32 characters",
            "admin_base_url": "http://manage.polaris.localhost",
            "customer_base_url": "http://polaris.localhost",
            "cookie_domain": "polaris.localhost",
        }


def start_process(environment: dict[str, str]) -> subprocess.Popen[str]:
    """``python -m notifier``."""
    return subprocess.Popen(
        [sys.executable, "-m", "notifier"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    """A port that nobody listens on, outside the range that outgoing connections use."""
    while True:
        port = random.randint(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def started(audience: Audience, n: int, **changes: Any) -> SessionStarted:
    """A session that began; ``n`` tells it from others."""
    values = {
        "session_id": n,
        "transaction_id": n,
        "charge_box_id": "CP-1",
        "connector_id": 1,
        "started_at": "2025-03-01T12:00:00.000Z",
    }
    return SessionStarted(audience=audience, **(values | changes))


async def next_session(stream: StreamClient) -> int:
    """The session id of the next event, which must be a session's start."""
    event = await stream.next()
    assert event.event == "session.started"
    session_id: int = event.data["sessionId"]
    return session_id


async def _ready(http: httpx.AsyncClient, port: int) -> bool:
    try:
        return (await http.get(f"http://127.0.0.1:{port}/readyz")).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
async def world(database: Database, database_url: str, redis_url: str) -> AsyncIterator[StreamWorld]:
    """An empty world."""
    world = StreamWorld(database, database_url, redis_url)
    yield world
    await world.close()
