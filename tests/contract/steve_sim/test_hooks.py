"""The fork's two hooks, against a receiver in the same process and over real sockets."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from polaris_sim.clock import SimClock
from polaris_sim.faults import Fault, FaultInjector, FaultPlan, FaultRule
from polaris_sim.steve import HookConfig, Profile, SteveConfig, SteveSimulator

Serve = Callable[[ASGIApp], AbstractAsyncContextManager[str]]

KEY = "the key of the hooks"
POWER = {"value": "7400", "measurand": "Power.Active.Import", "unit": "W"}


class Receiver:
    """Keeps what it gets; answers what it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.override: str | None = None
        self.delay = 0.0
        self.status = 200
        self.concurrent = self.most_concurrent = 0
        hooks = [Route("/api/ocpp/{hook}", self._receive, methods=["POST"])]
        self.app = Starlette(routes=hooks)

    @property
    def bodies(self) -> list[dict[str, object]]:
        return [json.loads(body) for _, _, body in self.requests]

    async def _receive(self, request: Request) -> Response:
        self.requests.append((request.path_params["hook"], dict(request.headers), await request.body()))
        self.concurrent += 1
        self.most_concurrent = max(self.most_concurrent, self.concurrent)
        await asyncio.sleep(self.delay)
        self.concurrent -= 1
        return JSONResponse({"override": self.override, "ok": True}, self.status)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def hooked(clock: SimClock, receiver: Receiver) -> AsyncIterator[Callable[..., SteveSimulator]]:
    """Makes a fork whose hooks go to the receiver in the same process."""
    made: list[SteveSimulator] = []
    client = httpx.AsyncClient(transport=httpx.ASGITransport(receiver.app))

    def make(base: str | None = None, profile: Profile = Profile.V3_12_FORK, **config: object) -> SteveSimulator:
        hooks = hook_config(base or "http://gateway.test", **config)
        simulator = SteveSimulator(
            SteveConfig(profile=profile, clock=clock, hooks=hooks), hook_client=None if base else client
        )
        simulator.add_charge_box("CB-1", connectors=2)
        simulator.add_tag("TAG-1", max_active_transaction_count=-1)
        simulator.add_tag("BLOCKED", max_active_transaction_count=0)
        made.append(simulator)
        return simulator

    yield make
    for simulator in made:
        await simulator.aclose()
    await client.aclose()


def hook_config(base: str, **config: object) -> HookConfig:
    return HookConfig(
        pre_authorize_url=f"{base}/api/ocpp/pre-authorize",
        pre_authorize_key=KEY,
        meter_values_url=f"{base}/api/ocpp/meter-values",
        meter_values_key=KEY,
        **config,  # type: ignore[arg-type]
    )


def signature(body: bytes, key: str = KEY) -> str:
    return hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


async def test_the_pre_authorize_body_is_exact_and_signed_over_its_bytes(
    hooked: Callable[..., SteveSimulator], receiver: Receiver
) -> None:
    simulator = hooked()

    await simulator.authorize("cb-1", "TAG-1")
    await simulator.start_transaction("CB-1", 2, "TAG-1", start_value=0)

    (hook, headers, tap), (_, _, start) = receiver.requests
    assert hook == "pre-authorize"
    expected = b'{"idTag":"TAG-1","chargeBoxId":"CB-1","connectorId":null,"isStartTx":false,"ts":1787306400000}'
    assert tap == expected
    assert json.loads(start) | {"ts": 0} == {
        "idTag": "TAG-1",
        "chargeBoxId": "CB-1",
        "connectorId": 2,
        "isStartTx": True,
        "ts": 0,
    }
    assert headers["content-type"] == "application/json"
    assert headers["x-signature"] == signature(tap)


async def test_blocked_downgrades_accepted_but_nothing_is_ever_upgraded(
    hooked: Callable[..., SteveSimulator], receiver: Receiver
) -> None:
    simulator = hooked()
    receiver.override = "BLOCKED"
    assert (await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)).status == "Blocked"
    assert await simulator.authorize("CB-1", "UNKNOWN") == "Invalid"

    receiver.override = None
    assert await simulator.authorize("CB-1", "BLOCKED") == "Blocked"
    assert await simulator.authorize("CB-1", "TAG-1") == "Accepted"
    assert len(receiver.requests) == 4
    assert len(simulator.state.transactions) == 1


@pytest.mark.parametrize(("status", "delay"), [(500, 0.0), (401, 0.0), (200, 0.5)])
async def test_a_hook_that_fails_or_is_late_fails_open(
    hooked: Callable[..., SteveSimulator], receiver: Receiver, status: int, delay: float
) -> None:
    simulator = hooked(timeout_seconds=0.05)
    receiver.status, receiver.delay, receiver.override = status, delay, "BLOCKED"

    assert await simulator.authorize("CB-1", "TAG-1") == "Accepted"
    assert simulator.hooks.pre_authorize_counters.failed == 1


async def test_one_meter_values_post_per_element_only_with_a_transaction(
    hooked: Callable[..., SteveSimulator], receiver: Receiver, clock: SimClock
) -> None:
    simulator = hooked(pre_authorize_enabled=False)
    await simulator.start_transaction("CB-1", 2, "TAG-1", start_value=0)

    simulator.meter_values(1, clock.now(), [{"value": "12.5"}, POWER])
    simulator.meter_values(None, clock.now(), [POWER], charge_box_id="CB-1", connector_id=0)
    await simulator.hooks.drained()

    ((hook, headers, body),) = receiver.requests
    assert hook == "meter-values"
    assert headers["x-signature"] == signature(body)
    assert json.loads(body) == {
        "chargeBoxId": "CB-1",
        "transactionPk": 1,
        "connectorId": 2,
        "timestamp": "2026-08-21T10:00:00.000Z",
        "samples": [{"value": "12.5"}, POWER],
    }


async def test_meter_values_are_dropped_doubled_and_shuffled_by_the_seed(
    hooked: Callable[..., SteveSimulator], receiver: Receiver
) -> None:
    async def arrivals(**config: object) -> list[object]:
        simulator = hooked(pre_authorize_enabled=False, concurrency=1, **config)
        await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)
        receiver.requests.clear()
        for value in range(100):
            simulator.meter_values(1, None, [{"value": str(value)}])
        await simulator.hooks.drained()
        return [body["samples"][0]["value"] for body in receiver.bodies]  # type: ignore[index]

    everything = [str(value) for value in range(100)]
    shuffled = await arrivals(shuffle=True, seed=7)
    assert await arrivals() == everything
    assert shuffled != everything
    assert sorted(shuffled, key=str) == sorted(everything)
    assert 40 < len(await arrivals(drop=0.4, seed=7)) < 80
    assert 120 < len(await arrivals(duplicate=0.4, seed=7)) < 160
    assert await arrivals(shuffle=True, seed=7) == shuffled


async def test_a_failed_meter_values_hook_is_never_sent_again(
    hooked: Callable[..., SteveSimulator], receiver: Receiver
) -> None:
    simulator = hooked(pre_authorize_enabled=False)
    receiver.status = 503
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)
    simulator.meter_values(1, None, [POWER])
    await simulator.hooks.drained()

    assert len(receiver.requests) == 1
    assert (simulator.hooks.meter_values_counters.sent, simulator.hooks.meter_values_counters.failed) == (1, 1)


async def test_hooks_follow_the_profile_unless_they_are_switched(
    hooked: Callable[..., SteveSimulator], receiver: Receiver
) -> None:
    await hooked(profile=Profile.HEAD).authorize("CB-1", "TAG-1")
    assert receiver.requests == []
    await hooked(profile=Profile.HEAD, pre_authorize_enabled=True).authorize("CB-1", "TAG-1")
    assert len(receiver.requests) == 1


async def test_the_wrong_key_and_the_host_header_go_over_the_wire(
    serve: Serve, hooked: Callable[..., SteveSimulator], receiver: Receiver
) -> None:
    async with serve(receiver.app) as base:
        simulator = hooked(base, wrong_key=True, host="polaris.example")
        await simulator.authorize("CB-1", "TAG-1")
        await simulator.aclose()

    _, headers, body = receiver.requests[0]
    assert headers["host"] == "polaris.example"
    assert headers["x-signature"] not in (signature(body), "")


async def test_a_thousand_hooks_over_sockets_arrive_once_each_within_the_concurrency(
    serve: Serve, hooked: Callable[..., SteveSimulator], receiver: Receiver
) -> None:
    receiver.delay = 0.001
    async with serve(receiver.app) as base:
        simulator = hooked(base, concurrency=8, timeout_seconds=2)
        await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)
        for value in range(1000):
            simulator.meter_values(1, None, [{"value": str(value)}])
            await simulator.hooks.room()
        await simulator.hooks.drained()
        counters = simulator.hooks.counters()
        await simulator.aclose()

    values = [body["samples"][0]["value"] for body in receiver.bodies[1:]]  # type: ignore[index]
    assert counters["preAuthorize"] | counters["meterValues"] == counters["meterValues"]
    assert (counters["meterValues"]["ok"], sorted(values, key=int)) == (1000, [str(value) for value in range(1000)])
    assert receiver.most_concurrent == 8


async def test_lost_connections_cost_only_the_hook_they_carried(
    serve: Serve, hooked: Callable[..., SteveSimulator], receiver: Receiver
) -> None:
    plan = FaultPlan([FaultRule(Fault.RESET, path="meter-values", times=1), FaultRule(Fault.TRUNCATED, times=1)])
    async with serve(FaultInjector(receiver.app, plan)) as base:
        simulator = hooked(base, concurrency=1, pre_authorize_enabled=False)
        await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)
        for value in range(4):
            simulator.meter_values(1, None, [{"value": str(value)}])
        await simulator.hooks.drained()
        await simulator.aclose()

    assert simulator.hooks.counters()["meterValues"] | {"dropped": 0} == {
        "sent": 4,
        "ok": 2,
        "failed": 2,
        "dropped": 0,
        "duplicated": 0,
    }
    assert [body["samples"] for body in receiver.bodies] == [[{"value": "1"}], [{"value": "2"}], [{"value": "3"}]]


async def test_an_armed_scan_turns_a_remote_start_into_a_400(
    hooked: Callable[..., SteveSimulator], receiver: Receiver, connect: Callable[[SteveSimulator], httpx.AsyncClient]
) -> None:
    receiver.override = "BLOCKED"
    body = {"chargeBoxIdList": ["CB-1"], "idTag": "TAG-1"}

    response = await connect(hooked()).post("/operations/RemoteStartTransaction", json=body)

    assert response.status_code == 400


async def test_a_sample_that_comes_just_as_the_last_worker_finishes_is_sent_too(clock: SimClock) -> None:
    received: list[bytes] = []

    def receive(request: httpx.Request) -> httpx.Response:
        received.append(request.content)
        if len(received) < 5:
            asyncio.get_running_loop().call_soon(simulator.meter_values, 1, None, [POWER])
        return httpx.Response(200, json={"ok": True})

    hooks = hook_config("http://gateway.test", concurrency=1, pre_authorize_enabled=False)
    async with httpx.AsyncClient(transport=httpx.MockTransport(receive)) as client:
        simulator = SteveSimulator(SteveConfig(clock=clock, hooks=hooks), hook_client=client)
        simulator.add_charge_box("CB-1")
        await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)
        simulator.meter_values(1, None, [POWER])
        async with asyncio.timeout(5):
            await simulator.hooks.drained()

    assert len(received) == 5
