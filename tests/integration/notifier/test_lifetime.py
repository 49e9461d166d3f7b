"""How streams end: sign-out, expiry, limits, slow readers, restarts."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import httpx
from tests.integration.notifier.conftest import Person, Replica, StreamWorld, next_session, started, until
from tests.integration.notifier.stream_client import HOST, Parser, Received, StreamClient

from polaris_common.events.catalogue import SessionStarted

QUICK: dict[str, Any] = {"sse_heartbeat_seconds": 0.3}


async def test_heartbeats_carry_the_time_and_no_id(world: StreamWorld) -> None:
    replica, driver = await world.notifier(**QUICK), await world.person()
    loop = asyncio.get_running_loop()
    async with StreamClient(replica.port, driver.token) as stream:
        begin = loop.time()
        beats = [await stream.next(heartbeats=True) for _ in range(3)]
        took = loop.time() - begin

    assert [(beat.event, beat.id) for beat in beats] == [("heartbeat", None)] * 3
    assert beats[0].data.keys() == {"ts"}
    assert 200 < beats[2].data["ts"] - beats[1].data["ts"] < 3000
    assert 0.6 < took < 5


async def test_a_stream_ends_with_its_session_and_the_others_go_on(world: StreamWorld) -> None:
    replica = await world.notifier(**QUICK)
    signed_out, expired, demoted, deleted, staying = [await world.person() for _ in range(5)]
    streams = {person: StreamClient(replica.port, person.token) for person in (signed_out, expired, demoted, deleted)}
    for stream in streams.values():
        await stream.connect()
    async with StreamClient(replica.port, staying.token) as other:
        await world.execute("DELETE FROM auth_sessions WHERE user_id = :id", id=signed_out.user.id)
        await world.execute("UPDATE auth_sessions SET expires_at = now() WHERE user_id = :id", id=expired.user.id)
        await world.execute("UPDATE users SET role = 'admin' WHERE id = :id", id=demoted.user.id)
        await world.execute("DELETE FROM users WHERE id = :id", id=deleted.user.id)

        for stream in streams.values():
            rest = await stream.ended()
            assert [(event.event, event.data) for event in rest] == [("bye", {"reason": "signed_out"})]
            await stream.disconnect()
        await world.emit(started(staying.audience, 1))
        assert await next_session(other) == 1
    await until(lambda: len(replica.notifier.hub) == 0)


async def test_beyond_the_process_limit_new_streams_are_asked_to_wait(world: StreamWorld) -> None:
    replica, driver = await world.notifier(sse_max_streams=2), await world.person()
    headers = {"Host": HOST, "Cookie": f"polaris.session={driver.token}"}
    async with StreamClient(replica.port, driver.token), StreamClient(replica.port, driver.token):
        async with httpx.AsyncClient(headers=headers) as http:
            refused = await http.get(f"http://127.0.0.1:{replica.port}/api/stream/customer")
        assert (refused.status_code, refused.json()["error"]) == (503, "SSE connection cap reached")
        assert refused.headers["retry-after"] == "30"
    await until(lambda: len(replica.notifier.hub) == 0)
    async with StreamClient(replica.port, driver.token) as stream:
        assert stream.response.status_code == 200


async def test_beyond_the_personal_limit_the_oldest_stream_ends(world: StreamWorld) -> None:
    replica, driver, other = (
        await world.notifier(sse_max_streams_per_user=2),
        await world.person(),
        await world.person(),
    )
    async with (
        StreamClient(replica.port, other.token) as theirs,
        StreamClient(replica.port, driver.token) as first,
        StreamClient(replica.port, driver.token) as second,
        StreamClient(replica.port, driver.token) as third,
    ):
        assert [(event.event, event.data) for event in await first.ended()] == [("bye", {"reason": "replaced"})]
        assert 30_000 <= (first.parser.retry or 0) <= 60_000
        await world.emit(started(driver.audience, 1), started(other.audience, 2))
        assert [await next_session(stream) for stream in (second, third, theirs)] == [1, 1, 2]


def _large(driver: Person, n: int) -> SessionStarted:
    return started(driver.audience, n, charge_box_id="x" * 20_000)


class _SlowReader:
    """A client with tiny buffers that reads nothing until told to."""

    def __init__(self, replica: Replica, driver: Person) -> None:
        self._replica, self._driver, self._parser = replica, driver, Parser()

    async def connect(self) -> None:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._replica.port))
        self._reader, self._writer = await asyncio.open_connection(sock=connection, limit=4096)
        cookie = f"polaris.session={self._driver.token}"
        self._writer.write(f"GET /api/stream/customer HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\n\r\n".encode())
        await self._reader.readuntil(b"\r\n\r\n")

    async def read(self, last_seq: int) -> list[Received]:
        received = await self.read_until(lambda event: event.id == last_seq)
        self._writer.close()
        return received

    async def read_until(self, is_last: Callable[[Received], bool]) -> list[Received]:
        received: list[Received] = []
        async with asyncio.timeout(10):
            while not any(map(is_last, received)):
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                received += self._parser.feed((await self._reader.readexactly(size + 2))[:-2])
        return [event for event in received if event.event != "heartbeat"]


async def _slow_reader(world: StreamWorld, driver: Person) -> tuple[Replica, _SlowReader]:
    """A client that is behind after 40 large events."""
    replica = await world.notifier(small_buffers=True, sse_max_pending_per_client=5)
    reader = _SlowReader(replica, driver)
    await reader.connect()
    for n in range(40):
        await world.emit(_large(driver, n))
    await until(lambda: replica.notifier.hub.last_seq == 40)
    assert [connection.behind for connection in replica.notifier.hub] == [True]
    return replica, reader


async def test_a_slow_reader_catches_up_from_the_log_without_gap_or_repeat(world: StreamWorld) -> None:
    driver = await world.person()
    replica, reader = await _slow_reader(world, driver)

    reading = asyncio.create_task(reader.read(50))
    for n in range(40, 50):
        await world.emit(_large(driver, n))
    received = await reading

    assert [event.id for event in received] == list(range(1, 51))
    assert {event.event for event in received} == {"session.started"}
    await until(lambda: len(replica.notifier.hub) == 0)


async def test_a_slow_reader_is_told_when_the_log_no_longer_has_what_it_missed(world: StreamWorld) -> None:
    driver = await world.person()
    _, reader = await _slow_reader(world, driver)
    await world.execute("DELETE FROM domain_events WHERE seq <= 39")
    await world.emit(_large(driver, 41))

    received = await reader.read_until(lambda event: event.event == "resync")
    await world.emit(_large(driver, 42))
    await world.emit(_large(driver, 43))
    received += await reader.read(43)

    position = [event.event for event in received].index("resync")
    before, told, after = received[:position], received[position], received[position + 1 :]
    assert (told.id, told.data) == (None, {"reason": "slow_reader"})
    assert [event.id for event in before] == list(range(1, len(before) + 1))
    assert [event.event for event in after] == ["session.started"] * len(after)
    assert [event.id for event in after] == list(range(44 - len(after), 44))


async def test_a_client_that_leaves_is_forgotten(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    async with StreamClient(replica.port, driver.token):
        assert len(replica.notifier.hub) == 1
    await until(lambda: len(replica.notifier.hub) == 0)


async def test_a_stopping_notifier_tells_its_clients_when_to_come_back(world: StreamWorld) -> None:
    replica, driver = await world.notifier(), await world.person()
    async with StreamClient(replica.port, driver.token) as stream:
        await world.emit(started(driver.audience, 1))
        assert await next_session(stream) == 1
        stream.parser.retry = None
        stopping = asyncio.create_task(replica.stop())
        assert await stream.ended() == []
        await stopping
        assert 1000 <= (stream.parser.retry or 0) <= 5000
