"""Connections to PostgreSQL that die while nobody uses them."""

import asyncio

from sqlalchemy import text

from polaris_common.db import Database

CUT_OFF = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def test_nobody_gets_a_connection_that_the_server_has_closed(database: Database) -> None:
    async def backend() -> int:
        async with database.unit_of_work() as uow:
            return int((await uow.execute(text("SELECT pg_backend_pid()"))).scalar_one())

    before = await asyncio.gather(*(backend() for _ in range(5)))
    outside = await database.connect_raw()
    await outside.execute(CUT_OFF)

    after = await asyncio.gather(*(backend() for _ in range(5)))
    await outside.close()

    assert not set(before) & set(after)
