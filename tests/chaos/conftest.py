"""How many examples, and whether they are the same every time; and the city that they all use.

``make test`` tries the same hundred in every run, half of them with each of Lago's stores, and a quarter as many of
reservations and of repeated requests; ``make chaos`` looks for new ones (``CHAOS_EXAMPLES``).
"""

import asyncio
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from polaris_cli.embedded import EmbeddedPostgres
from polaris_common.http import transport
from polaris_sim.lago import EventStore
from tests.chaos.city import City

_EXAMPLES = os.environ.get("CHAOS_EXAMPLES")

settings.register_profile(
    "chaos",
    max_examples=int(_EXAMPLES or 100) // len(EventStore),
    derandomize=_EXAMPLES is None,
    stateful_step_count=12,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


def some_of_the_examples(share: float = 0.25) -> settings:
    """For what is not the money path: so many besides its own."""
    return settings(settings.get_profile("chaos"), max_examples=max(1, int(int(_EXAMPLES or 100) * share)))


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
    monkeypatch.setattr(transport, "backoff_seconds", lambda attempt, **_: 0.0)
    store: EventStore = request.param
    name = f"chaos_{store.value}"
    built = runner.run(City.build(postgres.create_database(name), store))
    with structlog.testing.capture_logs() as built.logs:
        yield built
    runner.run(built.close())
    postgres.drop_database(name)
