"""What happens regularly goes on whatever happens, and is not torn off in the middle."""

import asyncio

import asyncpg
import pytest

from sync_worker.runs.pulse import Pulse


class Work:
    """Something that takes as long as the test wants."""

    def __init__(self) -> None:
        self.began, self.go_on = asyncio.Event(), asyncio.Event()
        self.done = self.torn_off = 0

    async def __call__(self) -> None:
        """Work until the test says so."""
        self.began.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.torn_off += 1
            raise
        self.done += 1


async def _stopped(pulse: asyncio.Task[None]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await pulse


async def test_whoever_stops_a_pulse_waits_for_what_is_at_work() -> None:
    work = Work()
    running = asyncio.create_task(Pulse("work", work, seconds=0, finish_within=60).run())
    await work.began.wait()
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()
    work.go_on.set()
    await _stopped(running)
    assert (work.done, work.torn_off) == (1, 0)


@pytest.mark.parametrize("finish_within", [0.0, 0.01])
async def test_what_takes_longer_is_torn_off(finish_within: float) -> None:
    work = Work()
    running = asyncio.create_task(Pulse("work", work, seconds=0, finish_within=finish_within).run())
    await work.began.wait()
    running.cancel()
    await _stopped(running)
    assert (work.done, work.torn_off) == (0, 1)


async def test_a_pulse_that_rests_stops_at_once() -> None:
    work = Work()
    work.go_on.set()
    pulse = Pulse("work", work, seconds=None, finish_within=60)
    running = asyncio.create_task(pulse.run())
    await pulse.first_done.wait()
    running.cancel()
    await asyncio.wait_for(_stopped(running), 5)
    assert (work.done, work.torn_off) == (1, 0)


@pytest.mark.parametrize(
    "outage",
    [ConnectionResetError("gone"), asyncpg.InternalClientError("got result for unknown protocol state 3")],
)
async def test_an_outage_in_the_middle_is_survived(outage: Exception) -> None:
    outcomes: list[Exception | None] = [outage, None]
    done = asyncio.Event()

    async def act() -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        done.set()

    running = asyncio.create_task(Pulse("act", act, seconds=0).run())
    await asyncio.wait_for(done.wait(), 5)
    running.cancel()
    await _stopped(running)
