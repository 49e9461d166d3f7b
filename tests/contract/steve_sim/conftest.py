"""A simulated SteVe with two boxes and two cards, and clients for its REST API and its control API."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from polaris_sim.clock import SimClock
from polaris_sim.steve import Profile, SteveConfig, SteveSimulator, create_app

NOW = datetime(2026, 8, 21, 10, tzinfo=UTC)

Connect = Callable[[SteveSimulator], httpx.AsyncClient]
Serve = Callable[[ASGIApp], contextlib.AbstractAsyncContextManager[str]]


def furnish(simulator: SteveSimulator) -> SteveSimulator:
    """Two charge boxes and two cards."""
    simulator.add_charge_box("CB-1", connectors=2, description="Garage")
    simulator.add_charge_box("CB-2")
    simulator.add_tag("TAG-1", max_active_transaction_count=5, user_pk=9)
    simulator.add_tag("TAG-2", note="spare card")
    return simulator


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@pytest.fixture
def clock() -> SimClock:
    """A clock that stands still."""
    return SimClock(NOW, speed=0)


@pytest.fixture
def build(clock: SimClock) -> Callable[..., SteveSimulator]:
    """Makes a furnished SteVe of a given profile and configuration."""

    def make(profile: Profile = Profile.V3_12_FORK, **config: object) -> SteveSimulator:
        return furnish(SteveSimulator(SteveConfig(profile=profile, clock=clock, **config)))  # type: ignore[arg-type]

    return make


@pytest.fixture
def simulator(build: Callable[..., SteveSimulator]) -> SteveSimulator:
    """The fork of 3.12."""
    return build()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes clients of the REST API with the right credentials."""
    clients: list[httpx.AsyncClient] = []

    def make(simulator: SteveSimulator) -> httpx.AsyncClient:
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(simulator)),
            base_url="http://steve.test/steve/api/v1",
            auth=(simulator.config.username, simulator.config.api_password),
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def rest(connect: Connect, simulator: SteveSimulator) -> httpx.AsyncClient:
    """A client of the REST API."""
    return connect(simulator)


@pytest.fixture
async def control(simulator: SteveSimulator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the control API."""
    transport = httpx.ASGITransport(create_app(simulator))
    async with httpx.AsyncClient(transport=transport, base_url="http://steve.test/_sim") as client:
        yield client


@pytest.fixture
def serve() -> Serve:
    """Serves an app on a real socket; gives its base URL."""

    @contextlib.asynccontextmanager
    async def served(app: ASGIApp) -> AsyncIterator[str]:
        server = _Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
        running = asyncio.create_task(server.serve())
        await server.ready.wait()
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await running

    return served
