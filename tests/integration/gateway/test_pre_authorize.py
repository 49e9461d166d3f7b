"""The hook that SteVe asks before it accepts a tag; and the signature that both hooks share."""

import asyncio
import json
import time
from typing import Any

import pytest
from sqlalchemy import text
from tests.support.gateway import METER_VALUES_KEY, PRE_AUTHORIZE_KEY, GatewayWorld, meter_values, sign

from polaris_common.jobs import Queue

TAP = {"idTag": "04A1B2C3", "chargeBoxId": "CP-1", "connectorId": None, "isStartTx": False, "ts": 1_767_225_600_000}


async def _jobs(world: GatewayWorld, queue: Queue) -> list[bytes]:
    redis = world.app.state.resources.jobs.redis
    for _ in range(100):
        waiting: list[bytes] = await redis.zrange(queue, 0, -1)
        if waiting:
            return waiting
        await asyncio.sleep(0.02)
    return []


async def test_the_gateway_has_no_objection(world: GatewayWorld) -> None:
    response = await world.hook("pre-authorize", TAP)

    assert (response.status_code, response.content) == (200, b'{"override":null}')


async def test_a_start_makes_the_sync_worker_look(world: GatewayWorld) -> None:
    await world.hook("pre-authorize", TAP | {"isStartTx": True})

    assert [job.split(b":")[0] for job in await _jobs(world, Queue.SYNC_WORKER)] == [b"live_poll"]


async def test_an_authorize_makes_nobody_look(world: GatewayWorld) -> None:
    await world.hook("pre-authorize", TAP)
    await asyncio.sleep(0.2)

    assert await world.app.state.resources.jobs.redis.zcard(Queue.SYNC_WORKER) == 0


async def test_a_tap_makes_a_dormant_charge_box_active_at_once(world: GatewayWorld) -> None:
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("INSERT INTO charger_cadence (charge_box_id, tier) VALUES ('CP-1', 'dormant')"))

    await world.hook("pre-authorize", TAP)

    async def tier() -> str:
        async with world.database.unit_of_work() as uow:
            return str((await uow.execute(text("SELECT tier FROM charger_cadence"))).scalar_one())

    tiers = []
    for _ in range(250):
        tiers.append(await tier())
        if tiers[-1] == "active":
            break
        await asyncio.sleep(0.02)
    assert tiers[-1] == "active"


async def test_a_lost_redis_delays_no_answer(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(world.app.state.resources.jobs, "live_poll", hang)
    began = time.perf_counter()

    response = await world.hook("pre-authorize", TAP | {"isStartTx": True})

    assert response.status_code == 200
    assert time.perf_counter() - began < 0.2


@pytest.mark.parametrize("path", ["pre-authorize", "meter-values"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: "",
        lambda good: good[:-1],
        lambda good: good[:-2] + "zz",
        lambda good: good[:-1] + ("0" if good[-1] != "0" else "1"),
        lambda good: f"sha256={good}",
        lambda good: f" {good[:2]} {good[2:]}",
        lambda good: good + "00",
        lambda good: "０" * 64,
        lambda good: "0" * 64,
    ],
)
async def test_a_signature_that_is_not_exactly_right_is_refused(world: GatewayWorld, path: str, spoil: Any) -> None:
    body: Any = TAP if path == "pre-authorize" else meter_values()
    key = PRE_AUTHORIZE_KEY if path == "pre-authorize" else METER_VALUES_KEY
    spoiled: str = spoil(sign(key, json.dumps(body, separators=(",", ":")).encode()))

    raw = json.dumps(body, separators=(",", ":")).encode()
    headers = [(b"x-signature", spoiled.encode())] if spoiled else []
    response = await world.steve.post(f"/api/ocpp/{path}", content=raw, headers=headers)

    assert (response.status_code, response.json()["error"]) == (401, "unauthorized")


async def test_a_signature_may_be_in_upper_case(world: GatewayWorld) -> None:
    raw = json.dumps(TAP).encode()

    response = await world.hook("pre-authorize", raw, signature=sign(PRE_AUTHORIZE_KEY, raw).upper())

    assert response.status_code == 200


async def test_the_signature_covers_the_exact_bytes(world: GatewayWorld) -> None:
    signature = sign(PRE_AUTHORIZE_KEY, json.dumps(TAP).encode())

    response = await world.hook("pre-authorize", json.dumps(TAP).encode() + b" ", signature=signature)

    assert response.status_code == 401


async def test_each_hook_has_its_own_key(world: GatewayWorld) -> None:
    assert (await world.hook("pre-authorize", TAP, key=METER_VALUES_KEY)).status_code == 401
    assert (await world.hook("meter-values", meter_values(), key=PRE_AUTHORIZE_KEY)).status_code == 401


@pytest.mark.parametrize("path", ["pre-authorize", "meter-values"])
async def test_a_body_of_json_null_is_refused_not_a_crash(world: GatewayWorld, path: str) -> None:
    response = await world.hook(path, b"null")

    assert (response.status_code, response.json()["error"]) == (400, "invalid_body")


@pytest.mark.parametrize("path", ["pre-authorize", "meter-values"])
async def test_what_is_not_json_is_told_apart(world: GatewayWorld, path: str) -> None:
    response = await world.hook(path, b"{nope")

    assert (response.status_code, response.json()["error"]) == (400, "invalid_json")


async def test_bad_json_without_a_signature_learns_nothing(world: GatewayWorld) -> None:
    assert (await world.hook("pre-authorize", b"{nope", signature="0" * 64)).status_code == 401


@pytest.mark.parametrize("path", ["pre-authorize", "meter-values"])
async def test_a_body_over_64_kib_is_refused_with_or_without_a_length(world: GatewayWorld, path: str) -> None:
    async def parts() -> Any:
        for _ in range(9):
            yield b" " * 8192

    announced = await world.hook(path, b" " * 65_537)
    streamed = await world.steve.post(f"/api/ocpp/{path}", content=parts(), headers={"x-signature": "0" * 64})
    largest = await world.hook(path, b" " * 65_536)

    assert (announced.status_code, streamed.status_code, largest.status_code) == (413, 413, 400)
    assert announced.json()["error"] == "body_too_large"
