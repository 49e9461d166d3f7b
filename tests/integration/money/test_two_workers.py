"""Every worker of the money path twice, as real processes: the same books, and a killed one is not missed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.support.worker_processes import WorkerProcess, served, until, workers
from tests.support.world import World, build_world

from polaris_cli.embedded import EmbeddedPostgres
from polaris_common.alive import main
from polaris_common.db import Database
from polaris_common.settings import DatabaseSettings, RedisSettings
from polaris_sim.lago import create_app as lago_app
from polaris_sim.steve import create_app as steve_app

DRIVERS, SESSIONS = 3, 45
PATIENCE_SECONDS = 90
_STANDING = """
SELECT (SELECT count(*) FROM charging_sessions WHERE state = 'settled' AND billed_revision = revision) AS decided,
       (SELECT count(*) FROM session_billing WHERE status = 'billed') AS billed,
       (SELECT count(*) FROM lago_events) AS events,
       (SELECT count(*) FROM lago_events WHERE status = 'delivered') AS delivered
"""


@dataclass
class StallingLago:
    """A Lago that takes the first batch of events and does not answer until it is told to."""

    app: ASGIApp
    stalls: bool = True
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    """It has them, and would answer."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["path"] != "/api/v1/events/batch" or not self.stalls:
            await self.app(scope, receive, send)
            return
        self.stalls = False

        async def answer_later(message: Message) -> None:
            self.taken.set()
            await self.go_on.wait()
            await send(message)

        await self.app(scope, receive, answer_later)


async def feed(world: World) -> None:
    """Sessions that are over, with all their meter values: what follows from them is the same whoever does it."""
    drivers = [await world.driver() for _ in range(DRIVERS)]
    for number in range(SESSIONS):
        start = 1_000 + 50_000 * number
        transaction = await world.start(drivers[number % DRIVERS].card, wh=start, box=f"CP-{number % 7}")
        await world.read(transaction, (20, start + 4_000), (40, start + 5_000 + number))
        world.stop(transaction, start + 9_000 + number)


async def books(world: World) -> dict[str, str]:
    """The text of every event."""
    return {row.transaction_id: row.body for row in await world.rows("SELECT transaction_id, body FROM lago_events")}


async def is_closed(world: World) -> bool:
    """Everything is billed and delivered."""
    decided, billed, events, delivered = await world.row(_STANDING)
    return bool(decided == billed == SESSIONS and events == delivered > 0)


def counted(world: World) -> list[int]:
    """What Lago has counted, by driver."""
    return [world.billed_wh(f"subscription-{number + 1}") for number in range(DRIVERS)]


EXPECTED = [
    sum(9_000 + number for number in range(SESSIONS) if number % DRIVERS == driver) for driver in range(DRIVERS)
]


@asynccontextmanager
async def bridges(
    count: int, lago: str, database_url: str, redis_url: str, **settings: str
) -> AsyncIterator[list[WorkerProcess]]:
    """So many billing-bridges."""
    settings = {"LAGO_API_URL": lago, "LAGO_API_KEY": "lago-key", "LAGO_METRIC_CODE": "ev_charging_kwh", **settings}
    async with workers(
        count, module="billing_bridge", database_url=database_url, redis_url=redis_url, **settings
    ) as started:
        yield started


@pytest.fixture
async def another_world(
    postgres: EmbeddedPostgres, world: World, redis_settings: RedisSettings
) -> AsyncIterator[World]:
    """A second city, as empty as the first."""
    name = "second_city"
    database = Database(
        DatabaseSettings(database_url=postgres.create_database(name, template="polaris_template")),
        application_name="test",
    )
    async with build_world(database, redis_settings) as built:
        yield built
    await database.close()
    postgres.drop_database(name)


async def test_two_of_each_worker_write_the_same_books_as_one_and_show_that_they_are_alive(
    world: World, another_world: World, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    alive = {module: tmp_path / module for module in ("sync_worker", "billing_bridge")}
    await feed(another_world)
    await another_world.settle()
    await feed(world)
    async with AsyncExitStack() as stack:
        steve = await stack.enter_async_context(served(steve_app(world.steve)))
        lago = await stack.enter_async_context(served(lago_app(world.lago)))
        await stack.enter_async_context(
            workers(
                2,
                database_url=database_url,
                redis_url=redis_url,
                steve=steve,
                ALIVE_FILE=str(alive["sync_worker"]),
            )
        )
        await stack.enter_async_context(
            bridges(2, lago, database_url, redis_url, ALIVE_FILE=str(alive["billing_bridge"]))
        )
        await until(lambda: is_closed(world), seconds=PATIENCE_SECONDS)
    assert [main([str(path)]) for path in alive.values()] == [0, 0]
    assert await books(world) == await books(another_world)
    assert counted(world) == counted(another_world) == EXPECTED
    assert world.lago.totals()["duplicateTransactionIds"] == 0


async def test_when_a_bridge_is_killed_while_lago_has_its_events_the_other_one_finishes(
    world: World, database_url: str, redis_url: str
) -> None:
    await feed(world)
    await world.runs.live_poll()
    lago = StallingLago(lago_app(world.lago))
    async with served(lago) as address, bridges(1, address, database_url, redis_url) as (first,):
        await asyncio.wait_for(lago.taken.wait(), PATIENCE_SECONDS)
        async with bridges(1, address, database_url, redis_url):
            first.kill()
            lago.go_on.set()
            await world.execute("UPDATE lago_events SET next_attempt_at = next_attempt_at - interval '8 seconds'")
            await until(lambda: is_closed(world), seconds=PATIENCE_SECONDS)
    events = world.lago.organization.events
    assert events.refused_duplicates > 0, "Lago had them when the bridge died, and was sent them again"
    assert events.repeated_transaction_ids() == 0
    assert counted(world) == EXPECTED
