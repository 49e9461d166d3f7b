"""Whatever happens, in whatever order, and whoever is killed at whatever moment: the books balance."""

import asyncio
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from polaris_cli.embedded import EmbeddedPostgres
from polaris_common.http import transport
from polaris_sim.lago import EventStore
from tests.chaos.city import City
from tests.chaos.machine import MoneyPath


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The loop of all examples."""
    with asyncio.Runner() as running:
        yield running


@pytest.fixture
def city(
    request: pytest.FixtureRequest,
    postgres: EmbeddedPostgres,
    runner: asyncio.Runner,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[City]:
    """A city with a Lago of the wanted store, where nobody waits before trying again."""
    monkeypatch.setattr(transport, "backoff_seconds", lambda attempt: 0.0)
    store: EventStore = request.param
    name = f"chaos_{store.value}"
    built = runner.run(City.build(postgres.create_database(name), store))
    with structlog.testing.capture_logs():
        yield built
    runner.run(built.close())
    postgres.drop_database(name)


@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("city", list(EventStore), indirect=True)
def test_every_watt_hour_is_sold_once_whatever_happens(city: City, runner: asyncio.Runner) -> None:
    class Example(MoneyPath):
        """The money path of this city."""

        def __init__(self) -> None:
            super().__init__(city, runner)

    run_state_machine_as_test(Example, settings=settings.get_profile("chaos"))
