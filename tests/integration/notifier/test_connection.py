"""The queue of one connection."""

import asyncio
from typing import cast
from uuid import uuid4

from notifier.stream.connection import Connection, Viewer
from notifier.stream.frames import Frame, LoggedEvent, heartbeat_frame
from notifier.stream.kinds import StreamClass, StreamKind
from notifier.stream.outlet import Outlet
from notifier.stream.rights import SessionRight

KIND = StreamKind(StreamClass.DRIVERS, {"happened", "meter"})


def connection(*, position: int = 0, behind: bool = False, max_pending: int = 3) -> Connection:
    """A connection to look at."""
    viewer = Viewer("user:1", frozenset({"public"}), SessionRight(uuid4(), "customer"))
    return Connection(KIND, viewer, position=position, behind=behind, max_pending=max_pending)


def event(seq: int) -> LoggedEvent:
    """The event with this number."""
    return LoggedEvent(seq, "happened", {})


def meter(value: bytes) -> Frame:
    """A measurement of the one car."""
    return Frame(value, key="car")


def test_measurements_that_wait_are_replaced_by_newer_ones() -> None:
    client = connection()
    for value in (b"1", b"2", b"3", b"4", b"5"):
        client.show("meter", meter(value))

    assert not client.behind
    assert client.take() == b"5"
    assert client.take() == b""


def test_a_measurement_stays_after_the_event_it_came_after() -> None:
    client = connection()
    client.show("meter", meter(b"old"))
    client.hear(event(1))
    client.show("meter", meter(b"new"))

    assert client.take() == event(1).frame.encoded + b"new"


def test_live_values_win_over_the_state_at_the_start() -> None:
    client = connection()
    client.show("meter", meter(b"live"))
    client.offer_first([meter(b"state")])

    assert client.take() == b"live"


def test_what_the_client_has_is_not_queued_again() -> None:
    client = connection(position=5)
    for seq in (4, 5, 6):
        client.hear(event(seq))

    assert client.take() == event(6).frame.encoded
    assert client.position == 6


def test_an_overflow_drops_the_queue_and_goes_on_from_the_last_event_sent() -> None:
    client = connection(position=5, max_pending=3)
    for seq in (7, 9, 11, 12):
        client.hear(event(seq))

    assert client.behind
    assert client.take() == b""
    assert client.position == 6, "everything visible before the first dropped event was sent"
    client.hear(event(13))
    assert client.take() == b""


def test_a_heartbeat_moves_the_position_of_a_level_connection_only() -> None:
    level, waiting, behind = connection(), connection(), connection(behind=True)
    waiting.hear(event(3))
    for client in (level, waiting, behind):
        client.greet(heartbeat_frame(), 7)

    assert [client.position for client in (level, waiting, behind)] == [7, 0, 0]


def test_a_closed_connection_takes_nothing() -> None:
    client = connection()
    client.hear(event(1))
    client.close(b"bye")
    client.hear(event(2))
    client.greet(heartbeat_frame(), 2)

    assert client.take() == b""
    assert client.farewell == b"bye"


class _Socket:
    """A client that takes what it gets, until it does not."""

    def __init__(self) -> None:
        self.written = b""
        self.takes = True

    def write(self, chunk: bytes) -> bool:
        """Take a chunk, or not."""
        self.written += chunk if self.takes else b""
        return self.takes


async def _idle(client: Connection) -> "tuple[_Socket, asyncio.Task[None]]":
    """``client`` with a socket, and its task that waits for something to do."""
    taker = _Socket()
    client.outlet = cast(Outlet, taker)
    waiting = asyncio.create_task(client.wait())
    await asyncio.sleep(0)
    return taker, waiting


async def test_what_an_idle_client_takes_wakes_nobody() -> None:
    client = connection()
    taker, waiting = await _idle(client)
    client.hear(event(1))
    client.show("meter", meter(b"m"))
    await asyncio.sleep(0)

    assert taker.written == event(1).frame.chunk + b"1\r\nm\r\n"
    assert client.position == 1
    assert not waiting.done()
    client.close()
    await waiting


async def test_what_a_client_does_not_take_waits_and_nothing_overtakes_it() -> None:
    client = connection()
    taker, waiting = await _idle(client)
    taker.takes = False
    client.hear(event(1))
    taker.takes = True
    client.hear(event(2))
    await waiting

    assert client.take() == event(1).frame.encoded + event(2).frame.encoded
    client.hear(event(3))  # its task is about to send what it has taken
    assert taker.written == b""
    assert client.take() == event(3).frame.encoded


async def test_the_last_frame_of_a_stream_comes_after_what_waits() -> None:
    client = connection()
    client.hear(event(1))
    client.show("meter", Frame(b"last", key="car", is_last=True))

    assert client.closing
    assert client.farewell == event(1).frame.encoded + b"last"
