"""Nothing that was begun goes on behind its caller's back."""

import asyncio

import pytest

from polaris_common.side_by_side import side_by_side


async def test_what_each_part_came_to_is_in_order() -> None:
    async def slow() -> int:
        await asyncio.sleep(0)
        return 1

    async def quick() -> int:
        return 2

    assert await side_by_side(slow(), quick()) == [1, 2]


@pytest.mark.parametrize("failure", [ConnectionResetError, KeyError, asyncio.CancelledError])
async def test_a_failure_is_raised_as_it_is_once_every_other_part_has_ended(failure: type[BaseException]) -> None:
    let_go, ended = asyncio.Event(), list[str]()

    async def fail() -> None:
        let_go.set()
        raise failure

    async def finish() -> None:
        await let_go.wait()
        await asyncio.sleep(0)
        ended.append("finished")

    with pytest.raises(failure):
        await side_by_side(fail(), finish())
    assert ended == ["finished"]


async def test_whoever_is_cancelled_takes_all_parts_along() -> None:
    begun, ended = asyncio.Event(), list[str]()

    async def wait_for_ever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    task = asyncio.create_task(side_by_side(wait_for_ever()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cleaned up"]
