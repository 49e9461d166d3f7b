"""The log is kept for seven days, wherever its rows lie."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.support.sql import WithDatabase

from polaris_common.db import Database
from polaris_common.db.partitions import drop_old_events, ensure_partitions


@pytest.fixture
def log(database: Database) -> WithDatabase:
    """The log of a fresh installation."""
    return WithDatabase(database)


async def _happened(log: WithDatabase, days_ago: int) -> None:
    """An event of so many days ago, early in the day."""
    await log.execute(
        "INSERT INTO domain_events (created_at, type, audience, payload)"
        " VALUES (date_trunc('day', now(), 'UTC') - make_interval(days => :days), 'test', '{operators}', '{}')",
        days=days_ago,
    )


async def _keep(log: WithDatabase) -> int:
    """What the billing-bridge does every hour; the number of partitions dropped."""
    async with log.database.unit_of_work() as uow:
        await ensure_partitions(uow)
        return await drop_old_events(uow)


async def _ages(log: WithDatabase) -> list[int]:
    query = "SELECT extract(day FROM date_trunc('day', now(), 'UTC') - created_at)::int AS age FROM domain_events"
    return sorted(row.age for row in await log.rows(query))


async def _partition_of_a_day(log: WithDatabase, days_ago: int) -> None:
    """A partition that was made in time, so many days ago."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begin = midnight - timedelta(days=days_ago)
    await log.execute(
        f"CREATE TABLE domain_events_{begin:%Y%m%d} PARTITION OF domain_events"
        f" FOR VALUES FROM ('{begin.isoformat()}') TO ('{(begin + timedelta(days=1)).isoformat()}')"
    )


async def test_events_of_days_without_a_partition_of_their_own_are_kept_as_long_as_the_others(
    log: WithDatabase,
) -> None:
    for days_ago in (0, 6, 7, 8, 9, 400):
        await _happened(log, days_ago)
    await _keep(log)
    assert await _ages(log) == [0, 6, 7]


async def test_a_day_that_is_past_its_retention_goes_as_a_whole(log: WithDatabase) -> None:
    for days_ago in (7, 8):
        await _partition_of_a_day(log, days_ago)
        await _happened(log, days_ago)
    assert await _keep(log) == 1
    assert await _ages(log) == [7]
    assert await _keep(log) == 0


async def test_events_that_came_before_their_partition_move_into_it(log: WithDatabase) -> None:
    await log.execute(f"DROP TABLE domain_events_{datetime.now(UTC):%Y%m%d}")
    await _happened(log, 0)
    await _keep(log)
    assert await _ages(log) == [0]
    assert (await log.row("SELECT count(*) AS n FROM domain_events_default")).n == 0
