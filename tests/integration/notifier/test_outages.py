"""Redis or the database away: streams stay open, nothing is lost or repeated."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis
from tests.integration.notifier.conftest import StreamWorld, next_session, started, until
from tests.integration.notifier.stream_client import StreamClient
from tests.integration.notifier.test_telemetry import measured

from polaris_cli.embedded import EmbeddedPostgres, EmbeddedRedis
from polaris_common.db import Database
from polaris_common.events.relay import number_waiting
from polaris_common.telemetry import CHANNEL, publish


async def test_without_redis_events_still_arrive_and_telemetry_comes_back_with_it(
    database: Database, database_url: str
) -> None:
    with EmbeddedRedis() as server:
        world = StreamWorld(database, database_url, server.url)
        replica, driver = await world.notifier(), await world.person()
        async with StreamClient(replica.port, driver.token) as stream:
            await world.emit(started(driver.audience, 1))
            assert await next_session(stream) == 1
            server.stop()
            for n in (2, 3):
                await world.emit(started(driver.audience, n))
                assert await next_session(stream) == n
            server.start()
            async with world.redis() as redis:
                await _subscribed(redis)
                await publish(redis, [measured(driver.user.id, 8)])
            assert (await stream.next()).data["transactionId"] == 8
        await world.close()


async def _subscribed(redis: Redis) -> None:
    while not dict(await redis.pubsub_numsub(CHANNEL))[CHANNEL.encode()]:
        pass


@asynccontextmanager
async def _database_away(postgres: EmbeddedPostgres, database_url: str) -> AsyncIterator[None]:
    """Nobody can connect, and every notifier's connection is cut; the test's own stays."""
    name = urlsplit(database_url).path.removeprefix("/")
    server = await asyncpg.connect(postgres.url())
    await server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    await server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'notifier'",
        name,
    )
    try:
        yield
    finally:
        await server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await server.close()


class _Noticed:
    """Stands in for a module's log and remembers what was said."""

    def __init__(self) -> None:
        self.events: set[str] = set()

    def warning(self, event: str, **_: object) -> None:
        """Remember ``event``."""
        self.events.add(event)


@pytest.fixture
def noticed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The outages that the notifiers have noticed."""
    said = _Noticed()
    for module in ("hub", "catch_up", "heartbeat"):
        monkeypatch.setattr(f"notifier.stream.{module}.log", said)
    return said.events


@pytest.mark.parametrize("resuming", [False, True], ids=["live", "resuming"])
async def test_while_the_database_is_away_streams_stay_and_lose_nothing(
    world: StreamWorld, postgres: EmbeddedPostgres, database_url: str, noticed: set[str], resuming: bool
) -> None:
    replica, driver = await world.notifier(sse_heartbeat_seconds=0.3), await world.person()
    await world.emit(started(driver.audience, 1))
    relay = await world.database.connect_raw()
    async with StreamClient(replica.port, driver.token) as stream:
        await world.emit(started(driver.audience, 2))
        await stream.until(lambda event: event.data["sessionId"] == 2)
        async with _database_away(postgres, database_url):
            for connection in replica.notifier.hub if resuming else ():
                connection.fall_behind()
            for n in (3, 4, 5):
                await world.emit(started(driver.audience, n))
            await number_waiting(relay)
            reader = {"catch_up_interrupted"} if resuming else set()
            await until(lambda: {"event_log_unreachable", "rights_unchecked", *reader} <= noticed)
            assert (await stream.next(heartbeats=True)).event == "heartbeat"
            refused = await StreamClient(replica.port, driver.token).connect()
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        await world.emit(started(driver.audience, 6))
        assert [await next_session(stream) for _ in range(4)] == [3, 4, 5, 6]
    await relay.close()
