"""The stream that tells a visitor that their card was read."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.integration.notifier.conftest import Replica, StreamWorld, until

from notifier.scan_detect import response as answers
from polaris_common.identity.pairings import PairingRepository, ScanTickets, Target
from polaris_common.models import Charger, PairableType, Pairing, PairingPurpose

TARGET = Target(PairableType.CHARGER, "CP-1")
PATH = "/api/auth/scan-detect"
PATIENCE = 10.0


async def _arm(world: StreamWorld, target: Target = TARGET) -> Pairing:
    async with world.database.unit_of_work() as uow:
        return await PairingRepository(uow).arm(target, purpose=PairingPurpose.LOGIN, ip_address=None)


async def _tap(world: StreamWorld, pairing: Pairing, tag: str = "04A1B2C3") -> None:
    async with world.database.unit_of_work() as uow:
        assert await PairingRepository(uow).match(pairing.id, tag)


async def _get(replica: Replica, query: dict[str, str], **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        url = f"http://127.0.0.1:{replica.port}{PATH}"
        return await http.get(url, params=query, headers={"host": "polaris.localhost", **headers})


class Visitor:
    """One open stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._chunks = response.aiter_raw()
        self._text = ""

    async def next(self) -> dict[str, str]:
        """The fields of the next block."""
        async with asyncio.timeout(PATIENCE):
            while "\n\n" not in self._text:
                self._text += (await anext(self._chunks)).decode()
        block, self._text = self._text.split("\n\n", 1)
        return dict(line.split(": ", 1) for line in block.split("\n"))

    async def rest(self) -> str:
        """What comes until the server ends the stream."""
        async with asyncio.timeout(PATIENCE):
            async for chunk in self._chunks:
                self._text += chunk.decode()
        return self._text


def _query(pairing: Pairing) -> dict[str, str]:
    name = "chargeBoxId" if pairing.pairable_type == "charger" else "deviceId"
    return {"pairingCode": pairing.code, name: pairing.target}


@asynccontextmanager
async def _visit(replica: Replica, pairing: Pairing, **more: Any) -> AsyncIterator[Visitor]:
    headers = {"host": "polaris.localhost", **more.pop("headers", {})}
    query = _query(pairing) | more
    async with (
        httpx.AsyncClient(timeout=PATIENCE) as http,
        http.stream("GET", f"http://127.0.0.1:{replica.port}{PATH}", params=query, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        yield Visitor(response)


async def test_a_tap_is_told_at_once_with_a_proof_and_without_the_card_s_number(world: StreamWorld) -> None:
    replica, pairing = await world.notifier(), await _arm(world)

    async with _visit(replica, pairing) as visitor:
        connected = await visitor.next()
        await _tap(world, pairing)
        began = time.perf_counter()
        tap = await visitor.next()

    data, told = json.loads(connected["data"]), json.loads(tap["data"])
    assert visitor.response.headers["content-type"] == "text/event-stream"
    assert visitor.response.headers["cache-control"].startswith("no-cache")
    assert connected["event"] == "connected"
    assert set(data) == {"pairableType", "pairableId", "expiresAtEpochMs", "expiresInSec", "chargeBoxId"}
    assert (data["pairableType"], data["chargeBoxId"]) == ("charger", "CP-1")
    assert 85 <= data["expiresInSec"] <= 90
    assert "event" not in tap
    assert tap["id"] == str(pairing.id)
    assert set(told) == {"idTag", "nonce", "t"}
    assert "04A1B2C3" not in tap["data"]
    assert time.perf_counter() - began < answers.LOOK_SECONDS
    tickets = ScanTickets("a secret for tests, 32 characters")
    assert told["nonce"] == tickets.nonce(told["idTag"], code=pairing.code, target=TARGET, t=told["t"])


async def test_a_tap_before_the_stream_is_told_when_it_opens(world: StreamWorld) -> None:
    replica, pairing = await world.notifier(), await _arm(world)
    await _tap(world, pairing)

    async with _visit(replica, pairing) as one, _visit(replica, pairing) as other:
        told = [(await visitor.next(), await visitor.next())[1] for visitor in (one, other)]

    assert told[0] == told[1]
    assert set(told[0]) == {"id", "data"}


async def test_who_comes_back_is_not_told_twice(world: StreamWorld) -> None:
    replica, pairing = await world.notifier(), await _arm(world)
    await _tap(world, pairing)

    async with _visit(replica, pairing, headers={"last-event-id": str(pairing.id)}) as visitor:
        await visitor.next()
        await world.execute("UPDATE pairings SET status = 'consumed'")
        assert await visitor.rest() == ""


async def test_the_number_on_the_charger_finds_the_stream_too(world: StreamWorld) -> None:
    replica, pairing = await world.notifier(), await _arm(world)
    async with world.database.unit_of_work() as uow:
        uow.session.add(Charger(charge_box_id="CP-1", public_id="ABCD2345"))

    async with _visit(replica, pairing, chargeBoxId="ABCD2345") as visitor:
        assert json.loads((await visitor.next())["data"])["pairableId"] == "CP-1"


async def test_giving_up_ends_the_stream(world: StreamWorld) -> None:
    device = Target(PairableType.DEVICE, "9b2d8b2e-0000-4000-8000-000000000000")
    replica, pairing = await world.notifier(), await _arm(world, device)

    async with _visit(replica, pairing) as visitor:
        connected = await visitor.next()
        async with world.database.unit_of_work() as uow:
            await PairingRepository(uow).release(device, pairing.code, by="device")
        cancelled = await visitor.next()
        rest = await visitor.rest()

    assert "chargeBoxId" not in json.loads(connected["data"])
    assert cancelled["event"] == "cancelled"
    told = json.loads(cancelled["data"])
    assert (told["pairingCode"], told["source"], rest) == (pairing.code, "device", "")


async def test_the_stream_lives_as_long_as_the_request(world: StreamWorld) -> None:
    replica, pairing = await world.notifier(), await _arm(world)
    await world.execute("UPDATE pairings SET expires_at = now() + interval '1.5 seconds'")

    async with _visit(replica, pairing) as visitor:
        await visitor.next()
        began = time.perf_counter()
        last = await visitor.next()
        rest = await visitor.rest()

    assert (last["event"], rest) == ("timeout", "")
    assert json.loads(last["data"]) == {"message": "Detection timeout reached"}
    assert 0.5 < time.perf_counter() - began < 5


async def test_a_lost_notification_costs_time_and_nothing_else(
    world: StreamWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LOOK_SECONDS", 0.2)
    replica, pairing = await world.notifier(), await _arm(world)

    async with _visit(replica, pairing) as visitor:
        await visitor.next()
        await world.execute(
            "UPDATE pairings SET status = 'matched', matched_id_tag = '04A1', matched_at = clock_timestamp()"
        )
        assert "data" in await visitor.next()


async def test_a_quiet_stream_shows_that_it_lives(world: StreamWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(answers, "KEEPALIVE_SECONDS", 0.1)
    replica, pairing = await world.notifier(), await _arm(world)

    async with _visit(replica, pairing) as visitor:
        await visitor.next()
        assert await visitor.next() == {"": "keepalive"}


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE pairings SET expires_at = now()",
        "UPDATE pairings SET status = 'released'",
        "UPDATE pairings SET status = 'consumed', matched_id_tag = 'x', matched_at = now()",
        "UPDATE pairings SET target = 'CPX1'",
        "DELETE FROM pairings",
    ],
)
async def test_a_request_that_does_not_stand_has_no_stream(world: StreamWorld, end: str) -> None:
    replica, pairing = await world.notifier(), await _arm(world)
    await world.execute(end)

    answer = await _get(replica, _query(pairing))

    assert (answer.status_code, answer.json()["error"]) == (404, "pairing_not_found")


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({}, "pairingCode_and_(chargeBoxId|deviceId)_required"),
        ({"pairingCode": "x"}, "pairingCode_and_(chargeBoxId|deviceId)_required"),
        ({"chargeBoxId": "x"}, "pairingCode_and_(chargeBoxId|deviceId)_required"),
        ({"pairingCode": "\x00", "deviceId": "x"}, "pairingCode_and_(chargeBoxId|deviceId)_required"),
        ({"pairingCode": "x", "chargeBoxId": "x", "deviceId": "x"}, "chargeBoxId_and_deviceId_are_mutually_exclusive"),
    ],
)
async def test_a_request_must_be_named(world: StreamWorld, query: dict[str, str], error: str) -> None:
    replica = await world.notifier()

    answer = await _get(replica, query)

    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_an_address_has_three_streams_and_gets_them_back(world: StreamWorld) -> None:
    replica, pairing = await world.notifier(), await _arm(world)
    slots = replica.notifier.scan_detect.slots

    async with AsyncExitStack() as stack:
        visitors = [await stack.enter_async_context(_visit(replica, pairing)) for _ in range(3)]
        for visitor in visitors:
            await visitor.next()
        refused = await asyncio.gather(*(_get(replica, _query(pairing)) for _ in range(3)))
    await until(lambda: not slots._taken)

    assert {(r.status_code, r.json()["error"]) for r in refused} == {(429, "too_many_concurrent_streams")}
    async with _visit(replica, pairing) as visitor:
        assert (await visitor.next())["event"] == "connected"


async def test_refusals_take_no_slot_for_good(world: StreamWorld) -> None:
    replica = await world.notifier()

    for _ in range(5):
        assert (await _get(replica, {"pairingCode": "x", "chargeBoxId": "x"})).status_code == 404

    assert not replica.notifier.scan_detect.slots._taken


async def test_a_stopping_notifier_ends_the_streams(world: StreamWorld) -> None:
    replica, pairing = await world.notifier(), await _arm(world)

    async with _visit(replica, pairing) as visitor:
        await visitor.next()
        stopping = asyncio.create_task(replica.stop())
        assert await visitor.rest() == ""
        await stopping


async def test_another_host_has_no_such_stream(world: StreamWorld) -> None:
    replica, pairing = await world.notifier(), await _arm(world)

    assert (await _get(replica, _query(pairing), host="evil.test")).status_code == 404
