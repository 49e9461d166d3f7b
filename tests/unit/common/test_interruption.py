"""Work that is asked to stop ends between its steps and in its waiting, and nowhere else."""

import asyncio

import pytest

from polaris_common.interruption import (
    Interrupted,
    Interruption,
    interruptible_by,
    stop_if_asked,
    unless_interrupted,
)


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _give_soon(signal: Interruption) -> None:
    await asyncio.sleep(0)
    signal.give()


async def test_what_only_waits_is_given_up_at_once() -> None:
    signal = Interruption()
    giving = asyncio.create_task(_give_soon(signal))
    with interruptible_by(signal), pytest.raises(Interrupted):
        async with unless_interrupted():
            await _for_ever()
    await giving


async def test_work_without_a_signal_goes_on_and_so_does_what_must_not_be_cut_off() -> None:
    signal = Interruption()
    signal.give()
    stop_if_asked()
    with interruptible_by(signal), interruptible_by(None):
        stop_if_asked()
        async with unless_interrupted():
            await asyncio.sleep(0)


async def test_nothing_is_begun_once_the_signal_was_given() -> None:
    signal = Interruption()
    signal.give()
    with interruptible_by(signal):
        with pytest.raises(Interrupted):
            stop_if_asked()
        with pytest.raises(Interrupted):
            async with unless_interrupted():
                pytest.fail("it has begun")


async def test_other_work_at_the_same_time_does_not_hear_the_signal() -> None:
    signal, heard = Interruption(), asyncio.Event()

    async def other() -> str:
        async with unless_interrupted():
            await heard.wait()
        return "done"

    undisturbed = asyncio.create_task(other())
    await asyncio.sleep(0)
    with interruptible_by(signal):
        signal.give()
    heard.set()
    assert await undisturbed == "done"


async def test_a_timeout_of_the_work_itself_stays_one() -> None:
    with interruptible_by(Interruption()), pytest.raises(TimeoutError):
        async with unless_interrupted(), asyncio.timeout(0):
            await _for_ever()


async def test_being_cancelled_is_no_interruption() -> None:
    async def wait() -> None:
        with interruptible_by(Interruption()):
            async with unless_interrupted():
                await _for_ever()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
