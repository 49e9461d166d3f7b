"""The tag tests run in a city whose SteVe has no tags yet."""

from collections.abc import AsyncIterator

import pytest
from tests.support.tag_city import TagCity, build_city

from polaris_common.db import Database


@pytest.fixture
async def city(database: Database) -> AsyncIterator[TagCity]:
    """A city with the fork's SteVe."""
    async with build_city(database) as built:
        yield built
