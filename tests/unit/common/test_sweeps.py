"""What a worker does now and then goes on whatever happens to the database."""

import asyncio

import asyncpg
import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from polaris_common.process import every

OUTAGES = [
    OSError("refused"),
    TimeoutError(),
    OperationalError("SELECT", {}, Exception("gone")),
    IntegrityError("INSERT", {}, Exception("duplicate")),
    asyncpg.InterfaceError("closed"),
    asyncpg.PostgresConnectionError("lost"),
    asyncpg.InternalClientError("got result for unknown protocol state 3"),
]


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda error: type(error).__name__)
async def test_a_sweep_that_meets_an_outage_is_made_again(outage: Exception) -> None:
    made, third = 0, asyncio.Event()

    async def sweep() -> None:
        nonlocal made
        made += 1
        if made == 3:
            third.set()
        raise outage

    task = asyncio.create_task(every(0, sweep, name="test"))
    await asyncio.wait_for(third.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
