"""A gateway in the test's process, on a database and a Redis of its own, with browsers and SteVe around it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from fastapi import FastAPI
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, PATIENT_SECONDS, GatewayWorld, gateway_environment
from tests.support.mail import Mailbox

from gateway.app import create_app
from gateway.ocpp.tap_facts import TapFactsQuery
from gateway.settings import GatewaySettings
from polaris_common.db import Database

_built: list[tuple[GatewaySettings, FastAPI]] = []


@pytest.fixture(autouse=True)
def _a_busy_machine_is_no_slow_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.app.BUDGET_SECONDS", PATIENT_SECONDS)
    monkeypatch.setattr("gateway.ocpp.replays.REDIS_BUDGET_SECONDS", PATIENT_SECONDS)


@pytest.fixture(autouse=True)
def _a_start_costs_no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a gateway does ahead when it starts is nine transactions and three connections; test_ahead.py wants it."""

    async def clean_up(_: Database) -> None: ...

    monkeypatch.setattr("gateway.app.clean_up", clean_up)
    monkeypatch.setattr(TapFactsQuery, "start", lambda _: None)


@pytest.fixture
def settings(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> GatewaySettings:
    """The gateway's settings on this test's servers: the application's own object, for tests that change it."""
    for name, value in gateway_environment(database_url, redis_url).items():
        monkeypatch.setenv(name, value)
    wanted = GatewaySettings()
    if not _built or _built[0][0] != wanted:
        _built[:] = [(wanted, create_app(wanted))]
    return _built[0][0]


@pytest.fixture
def app(settings: GatewaySettings) -> FastAPI:
    """The gateway of these settings, built once: its first requests work out every route's parameters."""
    return next(app for known, app in _built if known is settings)


@pytest.fixture
async def world(app: FastAPI, database: Database) -> AsyncIterator[GatewayWorld]:
    """A gateway in process with its lifespan running."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        browsers = [
            await stack.enter_async_context(
                httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url=url)
            )
            for url in (ADMIN_URL, CUSTOMER_URL, "http://gateway:8000")
        ]
        # The application's own settings, so that a test may change them, also where it was built for an earlier one.
        yield GatewayWorld(app, app.state.resources.settings, database, *browsers)


@pytest.fixture
async def mailbox(world: GatewayWorld) -> AsyncIterator[Mailbox]:
    """Where the gateway's mails arrive."""
    box = Mailbox(world.database, world.settings.auth_secret.get_secret_value())
    yield box
    await box.close()
