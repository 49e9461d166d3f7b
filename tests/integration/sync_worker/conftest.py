"""A site for the sync-worker's tests, and sites of every version of SteVe."""

from collections.abc import AsyncIterator

import pytest
from tests.support.site import Site, build_site
from tests.support.yard import Yard, build_yard

from polaris_common.db import Database
from polaris_common.settings import RedisSettings
from polaris_sim.steve import Profile

SUPPORTED = [profile for profile in Profile if profile is not Profile.V3_7_1]


@pytest.fixture
async def site(database: Database, redis_settings: RedisSettings) -> AsyncIterator[Site]:
    """A site whose SteVe is the fork."""
    async with build_site(database, redis_settings) as built:
        yield built


@pytest.fixture(params=SUPPORTED)
async def any_steve(
    request: pytest.FixtureRequest, database: Database, redis_settings: RedisSettings
) -> AsyncIterator[Site]:
    """A site for each supported version of SteVe."""
    async with build_site(database, redis_settings, request.param) as built:
        yield built


@pytest.fixture
async def old_steve(database: Database, redis_settings: RedisSettings) -> AsyncIterator[Site]:
    """A site whose SteVe (3.11) refuses no stop and replaces stops."""
    async with build_site(database, redis_settings, Profile.V3_11) as built:
        yield built


@pytest.fixture
async def yard(database: Database, redis_settings: RedisSettings) -> AsyncIterator[Yard]:
    """A site with one charger that is asked to do things; its SteVe is the fork."""
    async with build_yard(database, redis_settings) as built:
        yield built
