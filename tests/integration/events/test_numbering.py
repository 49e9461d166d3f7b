"""Numbering: gapless, in commit order, whatever writers and relays do."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar

import asyncpg
import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from polaris_cli.embedded import EmbeddedRedis
from polaris_common.db import Database, UnitOfWork
from polaris_common.events import log
from polaris_common.events.catalogue import PUBLIC, Audience, DomainEvent
from polaris_common.events.outbox import append_events
from polaris_common.events.relay import EVENTS_CHANNEL, EventRelay, number_waiting

SOON = 15.0


class Happened(DomainEvent):
    """An event for tests: the n-th of a writer."""

    type: ClassVar[str] = "test.happened"
    audience: Audience = Audience((PUBLIC,))
    writer: int
    n: int


class RolledBack(Exception):
    """A transaction that changes its mind."""


@asynccontextmanager
async def running(*relays: EventRelay) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Relays that run while the block does."""
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of the empty Redis."""
    client: Redis = Redis.from_url(redis_url)
    yield client
    await client.aclose()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until ``condition`` holds; fail after a while."""
    async with asyncio.timeout(SOON):
        while not await condition():  # noqa: ASYNC110 - what we wait for happens in the database
            await asyncio.sleep(0.01)


async def write(database: Database, *events: DomainEvent) -> None:
    """One transaction with these events."""
    async with database.unit_of_work() as uow:
        for event in events:
            uow.emit(event)


async def numbered(database: Database) -> Sequence[Any]:
    """The whole log in order."""
    async with database.unit_of_work() as uow:
        return await log.read_after(uow, 0, limit=100_000)


async def until_numbered(database: Database, count: int) -> Sequence[Any]:
    """Wait for ``count`` numbered events; the log."""

    async def enough() -> bool:
        async with database.unit_of_work() as uow:
            return await log.last_seq(uow) >= count

    await until(enough)
    return await numbered(database)


def written(rows: Sequence[Any]) -> list[tuple[int, int]]:
    """(writer, n) of each event."""
    return [(row.payload["writer"], row.payload["n"]) for row in rows]


async def _write_many(database: Database, writer: int, transactions: int) -> int:
    """Transactions of one to three events, every third one rolled back; how many events were committed."""
    dice, committed = random.Random(writer), 0
    for transaction in range(transactions):
        count = dice.randint(1, 3)
        with suppress(RolledBack):
            async with database.unit_of_work() as uow:
                await append_events(uow.session, [Happened(writer=writer, n=committed + i) for i in range(count)])
                await asyncio.sleep(dice.random() * 0.004)
                if transaction % 3 == 2:
                    raise RolledBack
            committed += count
    return committed


async def test_numbers_have_no_gap_and_keep_each_writers_order_with_many_writers(
    database: Database, redis: Redis
) -> None:
    async with running(EventRelay(database, redis), EventRelay(database, redis)):
        committed = await asyncio.gather(*(_write_many(database, writer, 20) for writer in range(12)))
        rows = await until_numbered(database, sum(committed))

    assert [row.seq for row in rows] == list(range(1, sum(committed) + 1))
    for writer, count in enumerate(committed):
        assert [n for who, n in written(rows) if who == writer] == list(range(count))


async def test_a_reader_never_finds_a_smaller_number_later(database: Database, redis: Redis) -> None:
    seen: list[int] = []

    async def follow() -> None:
        while True:
            async with database.unit_of_work() as uow:
                seen.extend(row.seq for row in await log.read_after(uow, seen[-1] if seen else 0))
            await asyncio.sleep(0)

    follower = asyncio.create_task(follow())
    async with running(EventRelay(database, redis)):
        total = sum(await asyncio.gather(*(_write_many(database, writer, 10) for writer in range(6))))

        async def all_seen() -> bool:
            return len(seen) >= total

        await until(all_seen)
    follower.cancel()

    assert seen == list(range(1, total + 1))


async def test_a_transaction_that_began_first_but_commits_last_is_numbered_last(
    database: Database, redis: Redis
) -> None:
    async with running(EventRelay(database, redis)):
        async with database.unit_of_work() as slow:
            await append_events(slow.session, [Happened(writer=1, n=0)])
            await write(database, Happened(writer=2, n=0))
            assert written(await until_numbered(database, 1)) == [(2, 0)]
        rows = await until_numbered(database, 2)

    assert written(rows) == [(2, 0), (1, 0)]


async def test_a_transaction_that_saw_anothers_work_is_numbered_after_it(database: Database) -> None:
    """Even when it began first and the relay was away while both committed."""
    touch = text("UPDATE event_relay SET last_seq = last_seq")
    async with database.unit_of_work() as first:
        await first.execute(text("SELECT 1"))
        async with database.unit_of_work() as second:
            await second.execute(touch)
            second.emit(Happened(writer=2, n=0))
        await first.execute(touch)
        first.emit(Happened(writer=1, n=0))

    connection = await database.connect_raw()
    await number_waiting(connection)
    await connection.close()

    assert written(await numbered(database)) == [(2, 0), (1, 0)]


async def test_events_of_one_transaction_keep_their_order(database: Database) -> None:
    for writer in range(5):
        await write(database, *(Happened(writer=writer, n=n) for n in range(300)))

    connection = await database.connect_raw()
    while await number_waiting(connection, limit=250):
        pass
    await connection.close()

    assert written(await numbered(database)) == [(writer, n) for writer in range(5) for n in range(300)]


async def test_an_uncommitted_event_is_never_numbered_and_a_rolled_back_one_leaves_no_gap(database: Database) -> None:
    connection = await database.connect_raw()
    with suppress(RolledBack):
        async with database.unit_of_work() as uow:
            await append_events(uow.session, [Happened(writer=1, n=0)])
            assert await number_waiting(connection) is None
            raise RolledBack
    await write(database, Happened(writer=2, n=0))
    assert await number_waiting(connection) == 1
    await connection.close()

    assert written(await numbered(database)) == [(2, 0)]


async def test_two_relays_at_once_number_nothing_twice_and_leave_no_gap(database: Database) -> None:
    """Even two that both believe to lead: the second waits for the first and goes on from its number."""
    for n in range(40):
        await write(database, Happened(writer=0, n=n))
    connections = [await database.connect_raw() for _ in range(4)]

    async def lead(connection: "asyncpg.Connection[Any]") -> list[int]:
        given = []
        while (highest := await number_waiting(connection, limit=3)) is not None:
            given.append(highest)
        return given

    highest = [seq for seqs in await asyncio.gather(*map(lead, connections)) for seq in seqs]
    for connection in connections:
        await connection.close()

    assert len(highest) == len(set(highest))
    assert [(row.seq, row.payload["n"]) for row in await numbered(database)] == [(n + 1, n) for n in range(40)]


async def _leader(uow: UnitOfWork) -> int | None:
    pid: int | None = await uow.session.scalar(
        text(
            "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
            "WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()"
        )
    )
    return pid


async def _leader_other_than(database: Database, pid: int | None) -> int:
    found: list[int] = []

    async def elected() -> bool:
        async with database.unit_of_work() as uow:
            now = await _leader(uow)
        found[:] = [now] if now is not None else []
        return now is not None and now != pid

    await until(elected)
    return found[0]


async def test_when_the_leaders_connection_dies_the_other_relay_takes_over_within_seconds(
    database: Database, redis: Redis
) -> None:
    loop = asyncio.get_running_loop()
    async with running(EventRelay(database, redis), EventRelay(database, redis)):
        leader = await _leader_other_than(database, None)
        await write(database, Happened(writer=1, n=0))
        await until_numbered(database, 1)

        killed_at = loop.time()
        async with database.unit_of_work() as uow:
            await uow.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": leader})
        await write(database, Happened(writer=1, n=1))
        rows = await until_numbered(database, 2)

        assert loop.time() - killed_at < 5
        assert await _leader_other_than(database, leader) != leader
    assert [row.seq for row in rows] == [1, 2]


async def test_a_redis_outage_does_not_stop_numbering(database: Database) -> None:
    with EmbeddedRedis() as server:
        client: Redis = Redis.from_url(server.url)
        async with running(EventRelay(database, client)):
            await write(database, Happened(writer=1, n=0))
            await until_numbered(database, 1)
            server.stop()
            for n in (1, 2, 3):
                await write(database, Happened(writer=1, n=n))
                await until_numbered(database, n + 1)
        await client.aclose()

    assert written(await numbered(database)) == [(1, 0), (1, 1), (1, 2), (1, 3)]


async def test_the_relay_announces_the_highest_number(database: Database, redis: Redis) -> None:
    async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe(EVENTS_CHANNEL)
        async with running(EventRelay(database, redis)), asyncio.timeout(SOON):
            await write(database, Happened(writer=1, n=0), Happened(writer=1, n=1))
            async for message in subscription.listen():
                assert message["data"] == b"2"
                break
