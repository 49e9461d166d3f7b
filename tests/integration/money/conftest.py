"""The money path's tests run in a world; those that say so run once per Lago store."""

from collections.abc import AsyncIterator

import pytest
from tests.support.world import World, build_world

from polaris_common.db import Database
from polaris_common.settings import RedisSettings
from polaris_sim.lago import EventStore


@pytest.fixture
async def world(database: Database, redis_settings: RedisSettings) -> AsyncIterator[World]:
    """A world whose Lago stores events in PostgreSQL."""
    async with build_world(database, redis_settings) as built:
        yield built


@pytest.fixture(params=[EventStore.POSTGRES, EventStore.CLICKHOUSE])
async def either_store(
    request: pytest.FixtureRequest, database: Database, redis_settings: RedisSettings
) -> AsyncIterator[World]:
    """A world for each of Lago's event stores."""
    async with build_world(database, redis_settings, store=request.param) as built:
        yield built
