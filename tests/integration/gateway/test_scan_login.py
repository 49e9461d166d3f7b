"""Signing in by holding a card to a charger or to an operator's phone."""

import asyncio
from typing import Any

import pytest
from tests.support.card_reading import LOGIN, TAG, arm, online_phone, ready, refusal, tap, tapped
from tests.support.gateway import GatewayWorld
from tests.support.phone import card_of, charger, events, execute, value


async def test_a_card_held_to_a_charger_signs_its_driver_in(world: GatewayWorld) -> None:
    user_id, login = await ready(world)

    answer = await world.customer.post(LOGIN, json=login, headers={"origin": "https://polaris.test"})
    me = (await world.customer.get("/api/auth/get-session")).json()

    assert (answer.status_code, answer.json()) == (200, {"redirectTo": "/"})
    assert answer.headers.get_list("content-type") == ["application/json"]
    assert me["user"]["id"] == str(user_id)
    assert [row.user_id for row in await world.audited("scan.login_success")] == [user_id]
    (event,) = await events(world, "sign_in.by_card")
    assert event["audience"] == [f"user:{user_id}"]


async def test_a_card_held_to_an_operator_s_phone_signs_its_driver_in(world: GatewayWorld) -> None:
    user_id = await world.user()
    await card_of(world, user_id, TAG.lower())
    phone = await online_phone(world)
    armed = (await arm(world, {"pairableType": "device", "deviceId": phone.device_id})).json()

    told = await phone.tell(TAG, armed["pairingCode"])
    login = await tapped(world, armed["pairingCode"])
    answer = await world.customer.post(LOGIN, json=login)

    assert told.status_code == 200
    assert answer.status_code == 200
    assert (await world.customer.get("/api/auth/get-session")).json()["user"]["id"] == str(user_id)


async def test_the_browser_never_learns_the_card_s_number(world: GatewayWorld) -> None:
    _, login = await ready(world)

    assert TAG not in str(login)
    assert refusal(await world.customer.post(LOGIN, json=login | {"idTag": TAG})) == (403, "forbidden")


async def test_a_driver_without_an_address_signs_in_with_a_card(world: GatewayWorld) -> None:
    user_id = await world.user(email=None, password=False)
    await charger(world)
    await card_of(world, user_id)
    code = (await arm(world)).json()["pairingCode"]
    await tap(world)

    assert (await world.customer.post(LOGIN, json=await tapped(world, code))).status_code == 200


async def test_a_login_is_used_up_by_the_first_of_many(world: GatewayWorld) -> None:
    _, login = await ready(world)

    answers = await asyncio.gather(
        *(world.steve.post(LOGIN, json=login, headers={"host": "polaris.test"}) for _ in range(4))
    )

    assert sorted(answer.status_code for answer in answers) == [200, 429, 429, 429]
    assert await value(world, "SELECT count(*) FROM auth_sessions") == 1


async def test_a_proof_that_is_not_ours_is_refused_and_costs_the_driver_nothing(world: GatewayWorld) -> None:
    _, login = await ready(world)
    spoiled = [
        {"nonce": "0" * 64},
        {"nonce": login["nonce"][:-1]},
        {"idTag": "0" * 32},
        {"t": login["t"] + 1},
        {"pairingCode": "other"},
        {"chargeBoxId": "CP-9"},
    ]

    for change in spoiled:
        assert refusal(await world.customer.post(LOGIN, json=login | change)) == (403, "forbidden")
    assert (await world.customer.post(LOGIN, json=login | {"nonce": login["nonce"].upper()})).status_code == 200
    reasons = {row.details["reason"] for row in await world.audited("scan.login_failed")}
    assert reasons == {"hmac_mismatch"}


async def test_a_tap_older_than_a_minute_is_stale(world: GatewayWorld) -> None:
    _, login = await ready(world)
    await execute(world, "UPDATE pairings SET matched_at = now() - interval '61 seconds'")

    login = await tapped(world, login["pairingCode"])

    assert refusal(await world.customer.post(LOGIN, json=login)) == (403, "stale")


async def test_a_request_for_something_else_signs_nobody_in(world: GatewayWorld) -> None:
    _, login = await ready(world)
    await execute(world, "UPDATE pairings SET purpose = 'admin-link'")

    assert refusal(await world.customer.post(LOGIN, json=login)) == (429, "rate_limited")


@pytest.mark.parametrize(
    "spoil",
    [
        "DELETE FROM tag_mappings",
        "UPDATE tag_mappings SET is_active = false",
        "UPDATE tag_mappings SET user_id = NULL",
        "UPDATE tag_mappings SET tag_type = 'app'",
        "UPDATE users SET role = 'admin'",
    ],
)
async def test_a_card_that_signs_nobody_in_does_not_use_the_request_up(world: GatewayWorld, spoil: str) -> None:
    _, login = await ready(world)
    await execute(world, spoil)

    answer = await world.customer.post(LOGIN, json=login)

    assert refusal(answer) == (401, "unauthorized")
    assert "set-cookie" not in answer.headers
    assert await value(world, "SELECT status FROM pairings") == "matched"


@pytest.mark.parametrize("end", ["UPDATE pairings SET expires_at = now()", "UPDATE pairings SET status = 'released'"])
async def test_a_request_that_is_over_signs_nobody_in(world: GatewayWorld, end: str) -> None:
    _, login = await ready(world)
    await execute(world, end)

    assert refusal(await world.customer.post(LOGIN, json=login)) == (429, "rate_limited")


@pytest.mark.parametrize(
    "change",
    [
        {"chargeBoxId": None},
        {"deviceId": "x"},
        {"pairingCode": ""},
        {"idTag": ""},
        {"nonce": None},
        {"t": "soon"},
        {"t": -1},
        {"t": 2**63},
    ],
)
async def test_an_unusable_login_is_refused(world: GatewayWorld, change: dict[str, Any]) -> None:
    login = {"pairingCode": "c", "chargeBoxId": "CP-1", "idTag": "x", "nonce": "0" * 64, "t": 1} | change

    assert refusal(await world.customer.post(LOGIN, json=login)) == (400, "invalid_body")


async def test_a_login_that_is_not_json_is_refused(world: GatewayWorld) -> None:
    headers = {"content-type": "application/json"}

    assert refusal(await world.customer.post(LOGIN, content=b"{", headers=headers)) == (400, "invalid_json")


async def test_a_foreign_page_signs_nobody_in_with_a_card(world: GatewayWorld) -> None:
    _, login = await ready(world)

    assert (await world.customer.post(LOGIN, json=login, headers={"origin": "https://evil.test"})).status_code == 403
