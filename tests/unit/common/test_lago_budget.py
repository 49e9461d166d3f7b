"""How many requests Lago gets, and what its "too many" does."""

import asyncio
from dataclasses import dataclass, field

import httpx
import pytest

from polaris_common.lago import LagoClient, LagoUnavailable, RequestBudget
from polaris_common.lago.budget import Lane, PausedByLago
from polaris_common.settings import LagoSettings


@dataclass
class Time:
    """A clock that moves when somebody waits."""

    at: float = 1_000.0
    waits: list[float] = field(default_factory=list)

    def now(self) -> float:
        """The moment."""
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Pass the time."""
        self.waits.append(seconds)
        self.at += seconds


def _budget(per_second: float) -> tuple[RequestBudget, Time]:
    time = Time()
    return RequestBudget(per_second, now=time.now, sleep=time.sleep), time


async def test_no_more_requests_go_than_the_ceiling_allows() -> None:
    budget, time = _budget(10)
    for _ in range(110):
        await budget.take(Lane.EVENTS)
    assert time.at - 1_000 == pytest.approx(10, abs=0.2)


async def test_without_a_ceiling_nothing_waits() -> None:
    budget, time = _budget(0)
    for _ in range(1_000):
        await budget.take(Lane.READS)
    assert time.waits == []


async def test_reads_get_at_most_half_so_that_events_always_have_the_rest() -> None:
    budget, time = _budget(10)
    for _ in range(55):
        await budget.take(Lane.READS)
    assert time.at - 1_000 == pytest.approx(10, abs=0.3)
    before = time.at
    await budget.take(Lane.EVENTS)
    assert time.at == before


async def test_a_crowd_of_reads_that_wait_holds_back_no_event() -> None:
    now = 0.0
    woken: list[str] = []
    waiting: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append((now + seconds, future))
        await future

    budget = RequestBudget(10, now=lambda: now, sleep=sleep)

    async def request(lane: Lane) -> None:
        await budget.take(lane)
        woken.append(lane)

    reads = [asyncio.create_task(request(Lane.READS)) for _ in range(200)]
    await asyncio.sleep(0)
    event = asyncio.create_task(request(Lane.EVENTS))
    await asyncio.sleep(0)
    assert event.done()
    for task in reads:
        task.cancel()
    await asyncio.gather(*reads, return_exceptions=True)


async def test_too_many_halves_the_rate_once_and_answers_bring_it_back() -> None:
    budget, _ = _budget(40)
    for _ in range(5):
        budget.refused(Lane.READS, retry_after=2)
    assert budget.per_second == 20
    for _ in range(60):
        budget.answered(Lane.READS, remaining=None, reset=None)
    assert budget.per_second == 40


async def test_the_rate_never_falls_to_nothing() -> None:
    budget, time = _budget(40)
    for _ in range(50):
        budget.refused(Lane.EVENTS, retry_after=1)
        time.at += 2
    assert budget.per_second > 0


async def test_where_lago_takes_no_events_it_is_not_asked_for_anything_else() -> None:
    budget, _ = _budget(40)
    budget.refused(Lane.EVENTS, retry_after=37)
    assert (budget.pause(Lane.EVENTS), budget.pause(Lane.READS)) == (37, 37)
    with pytest.raises(PausedByLago):
        await budget.take(Lane.READS)


async def test_where_lago_answers_no_reads_events_still_go() -> None:
    budget, time = _budget(40)
    budget.refused(Lane.READS, retry_after=37)
    await budget.take(Lane.EVENTS)
    assert time.waits == []


async def test_a_short_pause_is_waited_for() -> None:
    budget, time = _budget(0)
    budget.refused(Lane.READS, retry_after=2)
    await budget.take(Lane.READS)
    assert time.waits == [2]


def _client(budget: RequestBudget, *answers: httpx.Response) -> LagoClient:
    left = list(answers)
    transport = httpx.MockTransport(lambda request: left.pop(0))
    settings = LagoSettings(lago_api_url="http://lago.test", lago_api_key="key")
    return LagoClient(settings, budget=budget, transport=transport)


async def test_when_nothing_is_left_lago_is_left_alone_until_the_reset() -> None:
    budget, _ = _budget(40)
    client = _client(
        budget,
        httpx.Response(200, json={"events": [{}]}, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "12"}),
    )
    await client.send_events(["{}"])
    assert client.events_paused_for == 12
    with pytest.raises(LagoUnavailable) as told:
        await client.send_events(["{}"])
    assert told.value.retry_after == 12
    await client.close()


async def test_a_read_that_meets_too_many_is_tried_again_after_the_pause_that_lago_wants() -> None:
    budget, time = _budget(40)
    client = _client(
        budget,
        httpx.Response(429, headers={"X-RateLimit-Reset": "3"}),
        httpx.Response(200, json={"plan": {"code": "p"}}),
    )
    assert await client.plan("p") == {"code": "p"}
    assert time.waits == [3]
    await client.close()
