"""Real servers for every test: one PostgreSQL and one Redis a run, an own database and an empty Redis a test."""

import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import Redis

from polaris_cli.embedded import EmbeddedPostgres, EmbeddedRedis
from polaris_common.db import Database
from polaris_common.migrations.runner import upgrade
from polaris_common.settings import DatabaseSettings, RedisSettings

TEMPLATE = "polaris_template"


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The run's PostgreSQL. Not in pytest's own folder: another run at the same time may clear that away."""
    with tempfile.TemporaryDirectory(prefix="polaris-test-pg-") as folder:
        server = EmbeddedPostgres(Path(folder) / "data")
        # No test pulls the plug of the machine; what a killed process must not lose is safe without fsync.
        server.configure(fsync="off", full_page_writes="off")
        yield server
        server.stop()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """The run's Redis."""
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The address of a migrated database that only this test uses."""
    if not postgres.has_database(TEMPLATE):
        url = postgres.create_database(TEMPLATE)
        template = Database(DatabaseSettings(database_url=url), application_name="template")
        await upgrade(template)
        await template.close()
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield postgres.create_database(name, template=TEMPLATE)
    postgres.drop_database(name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on the test's database."""
    pool = Database(DatabaseSettings(database_url=database_url), application_name="test")
    yield pool
    await pool.close()


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """The address of an empty Redis."""
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def redis_settings(redis_url: str) -> RedisSettings:
    """Settings for the empty Redis."""
    return RedisSettings(redis_url=redis_url)
