"""Asking a charger or a device to read a card, and giving that up."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.support.card_reading import PAIR, TARGETS, arm, online_phone, refusal, tap
from tests.support.gateway import ADMIN_URL, GatewayWorld
from tests.support.phone import charger, events, execute

from gateway.scan_login import arming
from gateway.settings import ScanSignInMode


async def test_arming_a_charger_tells_its_code_and_term(world: GatewayWorld) -> None:
    await charger(world)

    answer = await arm(world)
    body = answer.json()

    assert answer.status_code == 200
    assert body == {
        "pairingCode": body["pairingCode"],
        "pairableType": "charger",
        "chargeBoxId": "CP-1",
        "expiresInSec": 90,
        "expiresAtEpochMs": body["expiresAtEpochMs"],
    }
    assert len(body["pairingCode"]) == 22
    assert 85_000 < body["expiresAtEpochMs"] - time.time() * 1000 <= 91_000


async def test_visitors_must_stand_at_the_charger_that_they_arm(world: GatewayWorld) -> None:
    await charger(world)

    far_away = await arm(world, {"chargeBoxId": "CP-1"})
    guessed = await arm(world, {"chargeBoxId": "CP-1", "presenceCode": "22222222"})
    there = await arm(world, {"chargeBoxId": "CP-1", "presenceCode": "ABCD2345"})

    assert (refusal(far_away), refusal(guessed)) == ((403, "presence_required"), (403, "presence_required"))
    assert there.status_code == 200


async def test_nobody_arms_a_charger_that_does_not_exist(world: GatewayWorld) -> None:
    await charger(world, "CP-1")

    for name in ("CP-2", "CP%", "CP_1", "%", "C" * 255):
        assert refusal(await arm(world, {"chargeBoxId": name})) == (404, "not_found")


async def test_a_tap_on_a_charger_of_a_similar_name_is_not_intercepted(world: GatewayWorld) -> None:
    await charger(world, "CB_1", "ABCD2345")
    await charger(world, "CBX1", "ABCD2346")
    await charger(world, "CB:1", "ABCD2347")
    await arm(world)

    assert [await tap(world, box=box) for box in ("CBX1", "CB:1", "CB_1")] == [None, None, "BLOCKED"]


async def test_of_many_arms_at_the_same_time_one_wins(world: GatewayWorld) -> None:
    await charger(world)

    answers = await asyncio.gather(*(arm(world) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert {answer.json()["error"] for answer in answers if answer.status_code == 409} == {"already_armed_for_charger"}


async def test_a_charger_can_be_armed_again_when_the_request_is_over(world: GatewayWorld) -> None:
    await charger(world)
    await arm(world)
    await execute(world, "UPDATE pairings SET expires_at = now()")

    assert (await arm(world)).status_code == 200


async def test_visitors_cannot_keep_a_charger_busy_for_ever(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arming, "ARMS_OF_CHARGER", 2)
    await charger(world)
    await charger(world, "CP-2", "ABCD2346")
    statuses = []
    for _ in range(3):
        statuses.append((await arm(world)).status_code)
        await execute(world, "UPDATE pairings SET expires_at = now()")

    assert statuses == [200, 200, 429]
    assert (await arm(world, {"chargeBoxId": "ABCD2346"})).status_code == 200


async def test_one_address_cannot_arm_everything(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arming, "ARMS_FROM_ADDRESS", 2)
    for n in "234":
        await charger(world, f"CP-{n}", f"ABCD222{n}")

    answers = [await arm(world, {"chargeBoxId": f"ABCD222{n}"}) for n in "234"]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert refusal(answers[2]) == (429, "rate_limited")


async def test_an_address_that_asks_without_end_keeps_nobody_else_from_asking(world: GatewayWorld) -> None:
    await charger(world)
    for _ in range(35):
        tired = await arm(world)
    await execute(world, "UPDATE pairings SET status = 'released', ip_address = '192.0.2.99'")
    other = await world.customer.post(
        PAIR, json={"chargeBoxId": "ABCD2345"}, headers={"x-forwarded-for": "198.51.100.7"}
    )

    assert (tired.status_code, other.status_code) == (429, 200)


async def test_where_signing_in_with_a_card_is_attended_visitors_arm_nothing(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.settings, "scan_sign_in_mode", ScanSignInMode.ATTENDED)
    await charger(world)

    refused = await arm(world)
    ways = (await world.customer.get("/api/auth/login-methods")).json()["methods"]
    await world.operator()
    armed = await world.admin.post(PAIR, json={"chargeBoxId": "CP-1"}, headers={"origin": ADMIN_URL})

    assert refusal(refused) == (403, "scan_sign_in_attended")
    assert "scan" not in ways
    assert armed.status_code == 200


async def test_operators_arm_any_charger_and_the_only_one_online_by_default(world: GatewayWorld) -> None:
    await charger(world)
    await world.operator()
    origin = {"origin": ADMIN_URL}

    by_id = await world.admin.post(PAIR, json={"chargeBoxId": "CP-1"}, headers=origin)
    await execute(world, "UPDATE pairings SET status = 'released'")
    by_default = await world.admin.post(PAIR, headers=origin)
    await execute(world, "UPDATE pairings SET status = 'released'")
    await charger(world, "CP-2", "ABCD2346")
    ambiguous = await world.admin.post(PAIR, headers=origin)
    await execute(world, "UPDATE chargers SET last_seen_at = now() - interval '2 hours'")
    offline = await world.admin.post(PAIR, headers=origin)

    assert (by_id.status_code, by_default.status_code) == (200, 200)
    assert refusal(ambiguous) == (400, "chargeBoxId required")
    assert refusal(offline) == (400, "no_chargers_online")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"{nope", (400, "invalid_json")),
        (b'{"pairableType":"car"}', (400, "invalid_pairableType")),
        (b'{"pairableType":"device"}', (400, "deviceId required")),
        (b'{"pairableType":"device","deviceId":"no-uuid"}', (404, "not_found")),
        (b"{}", (400, "chargeBoxId required")),
        (b"null", (400, "chargeBoxId required")),
        (b"", (400, "chargeBoxId required")),
        (b"[]", (400, "invalid_body")),
    ],
)
async def test_unusable_arms_are_told_apart(world: GatewayWorld, content: bytes, error: tuple[int, str]) -> None:
    await charger(world)

    answer = await world.customer.post(PAIR, content=content, headers={"content-type": "application/json"})

    assert refusal(answer) == error


async def test_arming_a_device_asks_it_to_read_a_card(world: GatewayWorld) -> None:
    phone = await online_phone(world)

    body = (await arm(world, {"pairableType": "device", "deviceId": phone.device_id.upper()})).json()

    assert set(body) == {"pairingCode", "pairableType", "deviceId", "expiresInSec", "expiresAtEpochMs"}
    assert body["deviceId"] == phone.device_id
    assert len(body["pairingCode"]) == 6
    (event,) = await events(world, "device.scan.requested")
    assert (event["pairingCode"], event["purpose"]) == (body["pairingCode"], "login")
    assert event["audience"] == [f"device:{phone.device_id}"]


async def test_a_device_that_cannot_read_a_card_now_is_not_armed(world: GatewayWorld) -> None:
    phone = await online_phone(world)
    body = {"pairableType": "device", "deviceId": phone.device_id}

    assert refusal(await arm(world, body | {"deviceId": str(uuid4())})) == (404, "not_found")
    await phone.be_seen("91 seconds")
    assert refusal(await arm(world, body)) == (409, "device_offline")
    await phone.be_seen()
    assert (await arm(world, body)).status_code == 200
    assert refusal(await arm(world, body)) == (409, "already_armed_for_device")
    await execute(world, "UPDATE devices SET capabilities = '{user}'")
    assert refusal(await arm(world, body)) == (400, "capability_missing")
    await execute(world, "UPDATE devices SET revoked_at = now()")
    assert refusal(await arm(world, body)) == (410, "device_revoked")


async def test_visitors_cannot_make_an_operator_s_phone_ring_for_ever(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arming, "ARMS_OF_DEVICE", 1)
    phone = await online_phone(world)
    body = {"pairableType": "device", "deviceId": phone.device_id}
    await arm(world, body)
    await execute(world, "UPDATE pairings SET expires_at = now()")

    assert refusal(await arm(world, body)) == (429, "rate_limited")


async def test_visitors_see_chargers_and_operators_see_devices_too(world: GatewayWorld) -> None:
    await charger(world)
    phone = await online_phone(world)

    anonymous = (await world.steve.get(TARGETS, headers={"host": "polaris.test"})).json()
    operator = (await world.admin.get(TARGETS)).json()

    assert anonymous == {
        "ok": True,
        "devices": [
            {
                "deviceId": "CP-1",
                "pairableType": "charger",
                "kind": "charger",
                "label": "CP-1",
                "friendlyName": None,
                "capabilities": ["scanner", "charger"],
                "isOnline": True,
                "isOwnDevice": None,
            }
        ],
    }
    assert "ABCD2345" not in str(anonymous)
    theirs = {target["deviceId"]: target for target in operator["devices"]}
    assert theirs[phone.device_id]["isOwnDevice"] is True
    assert theirs[phone.device_id]["isOnline"] is True


async def release(world: GatewayWorld, body: Any) -> httpx.Response:
    return await world.customer.request("DELETE", PAIR, json=body)


async def test_giving_up_is_safe_to_repeat_and_frees_the_charger(world: GatewayWorld) -> None:
    await charger(world)
    code = (await arm(world)).json()["pairingCode"]

    answers = [await release(world, {"chargeBoxId": "CP-1", "pairingCode": c}) for c in (code, code, "unknown")]

    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 3
    assert await tap(world) is None
    assert (await arm(world)).status_code == 200


async def test_giving_up_tells_the_device_once(world: GatewayWorld) -> None:
    phone = await online_phone(world)
    code = (await arm(world, {"pairableType": "device", "deviceId": phone.device_id})).json()["pairingCode"]

    for _ in range(2):
        assert (await release(world, {"deviceId": phone.device_id, "pairingCode": code})).status_code == 204

    cancelled = await events(world, "device.scan.cancelled")
    assert [(event["pairingCode"], event["source"]) for event in cancelled] == [(code, "customer")]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "pairingCode required"),
        ({"pairingCode": "c"}, "chargeBoxId required"),
        ({"pairingCode": "c", "pairableType": "device"}, "deviceId required"),
    ],
)
async def test_giving_up_names_what(world: GatewayWorld, body: dict[str, str], error: str) -> None:
    assert refusal(await release(world, body)) == (400, error)
