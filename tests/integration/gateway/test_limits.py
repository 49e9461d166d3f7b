"""How often one caller may call, over any number of gateways, with Redis and without."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from redis import Redis
from tests.support.gateway import CUSTOMER_URL, GatewayWorld, meter_values

from gateway import limits as buckets
from polaris_common.http import limits as counting
from polaris_common.http.errors import ServiceUnavailable
from polaris_common.http.limits import Bucket, RateLimited, RateLimits

AWAY = "redis://127.0.0.1:9/0"


@pytest.fixture
async def limits(redis_url: str) -> AsyncIterator[RateLimits]:
    """Limits counted in this test's Redis."""
    made = RateLimits(redis_url)
    yield made
    await made.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns in hand stay good however slow the machine is."""
    monkeypatch.setattr(counting, "LOT_SECONDS", 60.0)


async def _turns(limits: RateLimits, bucket: Bucket, tries: int, key: str = "a") -> int:
    allowed = 0
    for _ in range(tries):
        try:
            await limits.spend(bucket, key)
            allowed += 1
        except RateLimited:
            pass
    return allowed


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("guards_credentials", [False, True])
async def test_exactly_so_many_turns_are_given(limits: RateLimits, *, guards_credentials: bool) -> None:
    bucket = Bucket("b", 120, guards_credentials=guards_credentials)

    assert await _turns(limits, bucket, 200) == 120
    assert await _turns(limits, bucket, 1, key="somebody else") == 1


async def test_two_gateways_together_give_no_more_turns_than_one(redis_url: str) -> None:
    gateways = [RateLimits(redis_url), RateLimits(redis_url)]
    bucket = Bucket("b", 100)

    given = await asyncio.gather(*(_turns(gateway, bucket, 100) for gateway in gateways))

    assert 90 <= sum(given) <= 100
    for gateway in gateways:
        await gateway.close()


async def test_a_caller_who_pauses_loses_at_most_a_twentieth_of_the_turns_each_time(limits: RateLimits) -> None:
    bucket = Bucket("b", 40, seconds=60)
    given = 0
    for _ in range(4):
        given += await _turns(limits, bucket, 10)
        for lot in limits._lots.values():
            lot.good_until = 0.0  # a second goes by

    assert 40 - 3 * 2 <= given <= 40


async def test_after_the_wait_that_the_refusal_names_there_is_a_turn_again(limits: RateLimits) -> None:
    bucket = Bucket("b", 1, seconds=1, guards_credentials=True)
    await limits.spend(bucket, "a")
    with pytest.raises(RateLimited) as refused:
        await limits.spend(bucket, "a")

    await asyncio.sleep(float(refused.value.headers["retry-after"]))

    assert await _turns(limits, bucket, 1) == 1


async def test_a_window_has_no_edge_to_burst_over(limits: RateLimits) -> None:
    bucket = Bucket("b", 10, seconds=2, guards_credentials=True)
    began = time.time()
    await asyncio.sleep(2 - began % 2 - 0.2 if began % 2 < 1.8 else 0)

    around_the_edge = await _turns(limits, bucket, 10)
    await asyncio.sleep(0.5)

    assert around_the_edge + await _turns(limits, bucket, 10) == 10


async def test_without_redis_ordinary_calls_are_counted_by_each_gateway_alone() -> None:
    limits = RateLimits(AWAY)

    assert await _turns(limits, Bucket("b", 20), 30) == 20
    await limits.close()


async def test_without_redis_credentials_are_not_tried() -> None:
    limits = RateLimits(AWAY)

    with pytest.raises(ServiceUnavailable):
        await limits.spend(Bucket("b", 20, guards_credentials=True), "a")
    await limits.close()


@pytest.mark.usefixtures("patient")
async def test_a_refused_call_says_when_to_come_back(world: GatewayWorld) -> None:
    await world.driver()

    answers = [await world.customer.get("/api/customer/sessions") for _ in range(121)]

    assert {answer.status_code for answer in answers[:120]} == {200}
    refusal = answers[120]
    assert (refusal.status_code, refusal.json()["error"]) == (429, "rate_limited")
    wait = int(refusal.headers["retry-after"])
    assert 50 <= wait <= 60
    assert abs(int(refusal.headers["x-ratelimit-reset"]) - time.time() - wait) <= 2
    assert (refusal.headers["x-ratelimit-limit"], refusal.headers["x-ratelimit-remaining"]) == ("120", "0")


async def test_every_answer_tells_how_many_calls_are_left(world: GatewayWorld) -> None:
    await world.driver()

    answers = [await world.customer.get("/api/customer/sessions") for _ in range(30)]
    answers += [await world.customer.get(f"/api/customer/sessions/{2**40}")]
    stranger = await world.admin.get("/api/devices/me")

    told = [each.headers for each in answers]
    left = [int(each["x-ratelimit-remaining"]) for each in told]
    assert (left[0], len(set(left)), left) == (119, 31, sorted(left, reverse=True))
    assert left[-1] >= 119 - 2 * 30
    assert {each["x-ratelimit-limit"] for each in told} == {"120"}
    assert all(0 < int(each["x-ratelimit-reset"]) - time.time() <= 61 for each in told)
    assert "retry-after" not in told[0]
    assert (answers[-1].status_code, stranger.status_code) == (404, 401)
    assert stranger.headers["x-ratelimit-limit"] == str(buckets.REFUSED.amount)


async def test_calls_and_tries_at_a_credential_tell_the_tighter_limit(world: GatewayWorld) -> None:
    await world.user()

    answer = await world.sign_in(world.customer)

    assert int(answer.headers["x-ratelimit-limit"]) in {buckets.SIGN_IN.amount, buckets.PUBLIC.amount}
    assert int(answer.headers["x-ratelimit-remaining"]) < buckets.PUBLIC.amount


async def test_two_gateways_tell_what_both_have_left(redis_url: str) -> None:
    gateways = [RateLimits(redis_url), RateLimits(redis_url)]
    bucket = Bucket("b", 10, guards_credentials=True)

    left = [(await gateways[turn % 2].spend(bucket, "a")).remaining for turn in range(6)]

    assert left == [9, 8, 7, 6, 5, 4]
    for gateway in gateways:
        await gateway.close()


async def test_health_and_hooks_tell_of_no_limit(world: GatewayWorld) -> None:
    answers = [await world.steve.get("/livez"), await world.hook("meter-values", meter_values())]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert not any(name.startswith("x-ratelimit") for answer in answers for name in answer.headers)


@pytest.mark.usefixtures("patient")
async def test_a_person_is_counted_wherever_they_call_from_and_another_is_not(world: GatewayWorld) -> None:
    await world.driver()
    for number in range(120):
        headers = {"x-forwarded-for": f"198.51.100.{number}"}
        assert (await world.customer.get("/api/customer/sessions", headers=headers)).status_code == 200
    tired = await world.customer.get("/api/customer/sessions")
    world.customer.cookies.clear()
    await world.driver("bob@example.org")

    assert tired.status_code == 429
    assert (await world.customer.get("/api/customer/sessions")).status_code == 200


async def test_calls_without_a_session_are_counted_by_address(world: GatewayWorld) -> None:
    answers = [await world.customer.get("/api/customer/sessions") for _ in range(buckets.REFUSED.amount + 1)]

    assert [answer.status_code for answer in answers[-2:]] == [401, 429]


async def test_an_address_that_a_stranger_writes_into_a_header_is_not_theirs(world: GatewayWorld) -> None:
    transport = httpx.ASGITransport(world.app, client=("203.0.113.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url=CUSTOMER_URL) as stranger:
        answers = [
            await stranger.get("/api/customer/sessions", headers={"x-forwarded-for": f"198.51.100.{number}"})
            for number in range(buckets.REFUSED.amount + 1)
        ]

    assert answers[-1].status_code == 429


async def test_asking_who_is_signed_in_uses_up_no_sign_in(world: GatewayWorld) -> None:
    await world.user()
    for _ in range(buckets.SIGN_IN.amount * 2):
        assert (await world.customer.get("/api/auth/get-session")).status_code == 200

    assert (await world.sign_in(world.customer)).status_code == 200


@pytest.mark.parametrize("path", ["/api/health", "/livez", "/readyz"])
async def test_health_is_not_limited(world: GatewayWorld, path: str) -> None:
    for _ in range(buckets.PUBLIC.amount + 10):
        assert (await world.steve.get(path)).status_code == 200


async def test_signed_hooks_are_not_limited(world: GatewayWorld) -> None:
    for transaction in range(1, buckets.PUBLIC.amount + 10):
        assert (await world.hook("meter-values", meter_values(transaction))).status_code == 200


async def test_redis_learns_no_address_and_no_person(limits: RateLimits, redis_url: str) -> None:
    await limits.spend(Bucket("b", 5), "ann@example.org")

    with Redis.from_url(redis_url) as client:
        keys = [key.decode() for key in client.keys("*")]

    assert keys
    assert not any("ann" in key for key in keys)
