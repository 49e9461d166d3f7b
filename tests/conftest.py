"""Real servers for every test: one PostgreSQL and one Redis a run, an own database and an empty Redis a test."""

import gc
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from argon2 import PasswordHasher
from redis import Redis

from polaris_cli.embedded import EmbeddedPostgres, EmbeddedRedis
from polaris_common.db import Database
from polaris_common.identity import passwords
from polaris_common.process import collect_garbage_less
from polaris_common.settings import DatabaseSettings, RedisSettings
from tests.support.databases import Databases


def pytest_configure() -> None:
    """Nothing is garbage while modules are loaded."""
    gc.disable()


def pytest_collection_finish() -> None:
    """From now on as in a service: looking through all modules again and again took a seventh of a run."""
    gc.enable()
    collect_garbage_less()


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    """A hash costs 0.2 s of two cores in production (``tests/unit/common/test_passwords.py``), and hardly any here."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", cheap)
        patch.setattr(passwords, "_NOBODY", cheap.hash("the password of nobody"))
        yield


@pytest.fixture(autouse=True)
def _logs_go_to_this_test() -> None:
    """Forget a logging set-up that another test made; and spare the seconds that a coloured traceback takes."""
    structlog.reset_defaults()
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], renderer])


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The run's PostgreSQL. Not in pytest's own folder: another run at the same time may clear that away."""
    with tempfile.TemporaryDirectory(prefix="polaris-test-pg-") as folder:
        server = EmbeddedPostgres(Path(folder) / "data")
        # No test pulls the plug of the machine; what a killed process must not lose is safe without fsync.
        server.configure(fsync="off", full_page_writes="off", synchronous_commit="off", autovacuum="off")
        yield server
        server.stop()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """The run's Redis."""
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture(scope="session")
def databases(postgres: EmbeddedPostgres) -> Iterator[Databases]:
    """The run's databases."""
    made = Databases(postgres)
    yield made
    made.close()


@pytest.fixture
def database_url(databases: Databases) -> str:
    """The address of a migrated database that only this test uses."""
    return databases.fresh()


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
