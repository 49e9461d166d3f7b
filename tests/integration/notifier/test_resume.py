"""Reconnecting: no gap and no repeat, on any replica, through restarts of everything."""

import asyncio
import random
from contextlib import suppress

import httpx
import pytest
from sqlalchemy import text
from tests.integration.notifier.conftest import Person, StreamWorld, free_port, next_session, started, until
from tests.integration.notifier.stream_client import Received, StreamClient, StreamEnded

from notifier.stream.topics import CUSTOMER_TYPES
from polaris_common.events import log
from polaris_common.events.catalogue import OPERATORS, PUBLIC, Audience

RECONNECTS = 100


async def _visible(world: StreamWorld, person: Person) -> list[int]:
    async with world.database.unit_of_work() as uow:
        rows = await log.read_after(uow, 0, audiences=[PUBLIC, *person.audience.names], limit=1_000_000)
    return [row.seq for row in rows if row.type in CUSTOMER_TYPES]


async def _write_for_ever(world: StreamWorld, driver: Person, stranger: Person, seed: int) -> None:
    dice, n = random.Random(seed), 0
    audiences = [driver.audience, driver.audience, stranger.audience, Audience((OPERATORS,)), Audience((PUBLIC,))]
    while True:
        await world.emit(*(started(dice.choice(audiences), n) for _ in range(dice.randint(1, 3))))
        n += 1
        await asyncio.sleep(dice.random() * 0.06)


class _Disturber:
    """Two replicas; restarts one, breaks the other and kills whoever relays."""

    def __init__(self, world: StreamWorld) -> None:
        self._world = world
        self.ports = [free_port(), free_port()]

    async def start(self) -> None:
        self._replicas = [await self._world.notifier(port=port) for port in self.ports]

    async def restart_gracefully(self) -> None:
        await self._replicas[0].stop()
        self._replicas[0] = await self._world.notifier(port=self.ports[0])

    async def restart_after_a_crash(self) -> None:
        await self._replicas[1].crash()
        self._replicas[1] = await self._world.notifier(port=self.ports[1])

    async def kill_relay(self) -> None:
        await self._world.execute(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
            "WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()"
        )


async def _read_for_a_moment(stream: StreamClient, seconds: float, received: list[Received]) -> None:
    """Connect to wherever ``stream`` points and read until the moment is over or the server leaves."""
    try:
        response = await stream.connect()
    except httpx.TransportError:
        await asyncio.sleep(0.05)
        return
    if response.status_code == 200:
        with suppress(TimeoutError, StreamEnded):
            async with asyncio.timeout(seconds):
                while True:
                    received.append(await stream.next())
    await stream.disconnect()


async def test_a_hundred_reconnects_through_restarts_lose_and_repeat_nothing(world: StreamWorld) -> None:
    driver, stranger, dice, received = await world.person(), await world.person(), random.Random(4), list[Received]()
    disturber = _Disturber(world)
    await disturber.start()
    await world.emit(started(driver.audience, 0))
    while not await _visible(world, driver):  # noqa: ASYNC110 - who resumed after 1 before it has its number is ahead
        await asyncio.sleep(0.01)
    writers = [asyncio.create_task(_write_for_ever(world, driver, stranger, seed)) for seed in range(2)]
    disturbances = {20: disturber.kill_relay, 40: disturber.restart_gracefully, 60: disturber.restart_after_a_crash}

    stream = StreamClient(disturber.ports[0], driver.token, last_event_id="1")
    chaos: list[asyncio.Task[None]] = []
    for attempt in range(RECONNECTS):
        if attempt in disturbances:
            chaos.append(asyncio.create_task(disturbances[attempt]()))
        stream.port = dice.choice(disturber.ports)
        await _read_for_a_moment(stream, dice.random() * 0.03, received)
    await asyncio.gather(*chaos)
    for writer in writers:
        writer.cancel()
    await asyncio.gather(*writers, return_exceptions=True)

    await world.emit(started(driver.audience, 999_999))
    stream.port = disturber.ports[0]
    async with stream:
        received += await stream.until(lambda event: event.data.get("sessionId") == 999_999)

    assert [event.event for event in received] == ["session.started"] * len(received)
    assert [event.id for event in received] == (await _visible(world, driver))[1:]
    assert len(received) > RECONNECTS // 2


async def test_a_client_that_left_before_its_first_event_misses_nothing(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    async with StreamClient(replica.port, driver.token) as first:
        await world.emit(started(driver.audience, 1))
        assert await next_session(first) == 1

    newcomer = StreamClient(replica.port, driver.token)
    async with newcomer:
        await newcomer.position()
    await world.emit(started(driver.audience, 3))
    async with newcomer:
        assert await next_session(newcomer) == 3


async def test_an_unusable_last_event_id_is_ignored(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    await world.emit(*(started(driver.audience, n) for n in range(3)))
    await until(lambda: replica.notifier.hub.last_seq == 3)

    for n, header in enumerate(("0", "-1", "abc", "1.5", "1e3"), start=10):
        async with StreamClient(replica.port, driver.token, last_event_id=header) as stream:
            await world.emit(started(driver.audience, n))
            assert await next_session(stream) == n


async def test_long_absences_resume_in_order_from_the_log(world: StreamWorld) -> None:
    replica, driver, stranger = await world.notifier(), await world.person(), await world.person()
    await world.emit(*(started(driver.audience if n % 3 == 0 else stranger.audience, n) for n in range(1500)))
    await until(lambda: replica.notifier.hub.last_seq == 1500)

    async with StreamClient(replica.port, driver.token, last_event_id="1") as stream:
        received = [await next_session(stream) for _ in range(499)]

    assert received == list(range(3, 1500, 3))


@pytest.mark.parametrize("last_event_id", ["2", "9000", "99999999999999999999999"])
async def test_a_position_that_the_log_does_not_reach_gets_one_resync_and_then_live_events(
    world: StreamWorld, last_event_id: str
) -> None:
    replica, driver = await world.notifier(), await world.person()
    await world.emit(*(started(driver.audience, n) for n in range(10)))
    await until(lambda: replica.notifier.hub.last_seq == 10)
    await world.execute("DELETE FROM domain_events WHERE seq <= 5")

    stream = StreamClient(replica.port, driver.token, last_event_id=last_event_id)
    async with stream:
        resync = await stream.next()
        assert (resync.event, resync.id, resync.data) == ("resync", None, {"reason": "too_old"})
    async with stream:  # the resync has moved the client's position: no second one
        await world.emit(started(driver.audience, 77))
        assert await next_session(stream) == 77
        await world.emit(started(driver.audience, 78))
        assert (await stream.next()).id == 12


async def test_a_resumed_stream_without_news_moves_the_clients_position(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    await world.emit(started(driver.audience, 1), *(started(Audience((OPERATORS,)), n) for n in range(5)))
    await until(lambda: replica.notifier.hub.last_seq == 6)

    stream = StreamClient(replica.port, driver.token, last_event_id="1")
    async with stream:
        while await stream.position() == "1":
            await stream.read()
    assert stream.parser.last_event_id == "6"


async def test_the_oldest_position_that_is_still_complete_resumes_without_resync(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    await world.emit(*(started(driver.audience, n) for n in range(10)))
    await until(lambda: replica.notifier.hub.last_seq == 10)
    await world.execute("DELETE FROM domain_events WHERE seq <= 5")

    async with StreamClient(replica.port, driver.token, last_event_id="5") as stream:
        assert [(await stream.next()).id for _ in range(5)] == [6, 7, 8, 9, 10]


async def test_an_empty_log_after_retention_is_noticed(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    await world.emit(*(started(driver.audience, n) for n in range(3)))
    await until(lambda: replica.notifier.hub.last_seq == 3)
    await world.execute("DELETE FROM domain_events")

    async with StreamClient(replica.port, driver.token, last_event_id="2") as late:
        assert (await late.next()).event == "resync"
    async with StreamClient(replica.port, driver.token, last_event_id="3") as level:
        await world.emit(started(driver.audience, 4))
        assert await next_session(level) == 4


async def test_a_log_restored_from_a_backup_makes_clients_load_anew(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    await world.emit(*(started(driver.audience, n) for n in range(10)))
    await until(lambda: replica.notifier.hub.last_seq == 10)
    async with StreamClient(replica.port, driver.token, last_event_id="9") as stream:
        assert await next_session(stream) == 9
        async with world.database.unit_of_work() as uow:
            await uow.execute(text("DELETE FROM domain_events WHERE seq > 4"))
            await uow.execute(text("UPDATE event_relay SET last_seq = 4"))
        assert (await stream.next()).event == "resync"
        await world.emit(started(driver.audience, 50))
        event = await stream.next()

    assert (event.id, event.data["sessionId"]) == (5, 50)
