"""COPY within a unit of work: all or nothing with the rest of it, and refused like any other statement."""

import asyncpg
import pytest
from sqlalchemy import text

from polaris_common.db import Database
from polaris_common.db.outages import is_outage

COLUMNS = ("name", "value")
STORED = text("SELECT name, value FROM billing_counters WHERE name LIKE 'copied%' ORDER BY name")


async def _stored(database: Database) -> list[tuple[str, int]]:
    async with database.unit_of_work() as uow:
        return [(row.name, row.value) for row in await uow.execute(STORED)]


async def test_copied_rows_are_there_once_the_unit_of_work_commits(database: Database) -> None:
    async with database.unit_of_work() as uow:
        await uow.copy("billing_counters", COLUMNS, [("copied-1", 1), ("copied-2", 2)])
        before = await _stored(database)

    assert (before, await _stored(database)) == ([], [("copied-1", 1), ("copied-2", 2)])


async def test_copied_rows_vanish_with_the_unit_of_work(database: Database) -> None:
    async def change_its_mind() -> None:
        async with database.unit_of_work() as uow:
            await uow.copy("billing_counters", COLUMNS, [("copied-1", 1)])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await change_its_mind()

    assert await _stored(database) == []


async def test_a_refused_row_is_no_outage(database: Database) -> None:
    with pytest.raises(asyncpg.UniqueViolationError) as refused:
        async with database.unit_of_work() as uow:
            await uow.copy("billing_counters", COLUMNS, [("copied-1", 1), ("copied-1", 2)])
    with pytest.raises(OverflowError) as unfit:
        async with database.unit_of_work() as uow:
            await uow.copy("billing_counters", COLUMNS, [("copied-1", 2**70)])

    assert (is_outage(refused.value), is_outage(unfit.value)) == (False, False)


async def test_a_connection_that_ends_during_a_copy_is_an_outage(database: Database) -> None:
    async def copy_without_a_connection() -> None:
        async with database.unit_of_work() as uow:
            own = (await uow.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            async with database.unit_of_work() as other:
                await other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": own})
            await uow.copy("billing_counters", COLUMNS, [("copied-1", 1)])

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)) as lost:
        await copy_without_a_connection()

    assert is_outage(lost.value)
