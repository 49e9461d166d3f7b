"""Signing in by holding a card to a charger or to an operator's phone."""

import asyncio
import time
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, text
from tests.support.gateway import ADMIN_URL, GatewayWorld
from tests.support.phone import Phone, card_of, charger, events, execute, register, value

from gateway.ocpp.service import BUDGET_SECONDS
from gateway.scan_login import arming
from gateway.settings import ScanSignInMode
from polaris_common.identity.pairings import ScanTickets
from polaris_common.models import Pairing

PAIR, LOGIN, TARGETS = "/api/auth/scan-pair", "/api/auth/scan-login", "/api/auth/scan-tap-targets"
TAG = "04A1B2C3"


async def _tap(world: GatewayWorld, tag: str = TAG, box: str = "CP-1", *, start: bool = False) -> str | None:
    answer = await world.hook("pre-authorize", {"idTag": tag, "chargeBoxId": box, "isStartTx": start})
    override: str | None = answer.json()["override"]
    return override


async def _arm(world: GatewayWorld, body: dict[str, Any] | None = None) -> httpx.Response:
    return await world.customer.post(PAIR, json=body or {"chargeBoxId": "ABCD2345"})


async def _tapped(world: GatewayWorld, code: str) -> dict[str, Any]:
    """What the stream tells of the tap, with what the browser adds."""
    async with world.database.unit_of_work() as uow:
        pairing = (await uow.execute(select(Pairing).where(Pairing.code == code))).scalar_one()
    tickets: ScanTickets = world.app.state.resources.tickets
    target = {"chargeBoxId": pairing.target} if pairing.pairable_type == "charger" else {"deviceId": pairing.target}
    return {"pairingCode": code} | target | dict(tickets.tap(pairing))


async def _ready(world: GatewayWorld, *, tag: str = TAG, **card: Any) -> tuple[UUID, dict[str, Any]]:
    """A driver whose card was just held to an armed charger: who, and the login that is due."""
    user_id = await world.user()
    await charger(world)
    await card_of(world, user_id, tag, **card)
    code = (await _arm(world)).json()["pairingCode"]
    assert await _tap(world, tag) == "BLOCKED"
    return user_id, await _tapped(world, code)


async def _online_phone(world: GatewayWorld, **changes: Any) -> Phone:
    await world.operator()
    phone = await register(world, **changes)
    await phone.be_seen()
    return phone


def _error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


async def test_a_card_held_to_a_charger_signs_its_driver_in(world: GatewayWorld) -> None:
    user_id, login = await _ready(world)

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
    phone = await _online_phone(world)
    armed = (await _arm(world, {"pairableType": "device", "deviceId": phone.device_id})).json()

    told = await phone.tell(TAG, armed["pairingCode"])
    login = await _tapped(world, armed["pairingCode"])
    answer = await world.customer.post(LOGIN, json=login)

    assert told.status_code == 200
    assert answer.status_code == 200
    assert (await world.customer.get("/api/auth/get-session")).json()["user"]["id"] == str(user_id)


async def test_the_browser_never_learns_the_card_s_number(world: GatewayWorld) -> None:
    _, login = await _ready(world)

    assert TAG not in str(login)
    assert _error(await world.customer.post(LOGIN, json=login | {"idTag": TAG})) == (403, "forbidden")


async def test_a_driver_without_an_address_signs_in_with_a_card(world: GatewayWorld) -> None:
    user_id = await world.user(email=None, password=False)
    await charger(world)
    await card_of(world, user_id)
    code = (await _arm(world)).json()["pairingCode"]
    await _tap(world)

    assert (await world.customer.post(LOGIN, json=await _tapped(world, code))).status_code == 200


async def test_arming_a_charger_tells_its_code_and_term(world: GatewayWorld) -> None:
    await charger(world)

    answer = await _arm(world)
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

    far_away = await _arm(world, {"chargeBoxId": "CP-1"})
    guessed = await _arm(world, {"chargeBoxId": "CP-1", "presenceCode": "22222222"})
    there = await _arm(world, {"chargeBoxId": "CP-1", "presenceCode": "ABCD2345"})

    assert (_error(far_away), _error(guessed)) == ((403, "presence_required"), (403, "presence_required"))
    assert there.status_code == 200


async def test_nobody_arms_a_charger_that_does_not_exist(world: GatewayWorld) -> None:
    await charger(world, "CP-1")

    for name in ("CP-2", "CP%", "CP_1", "%", "C" * 255):
        assert _error(await _arm(world, {"chargeBoxId": name})) == (404, "not_found")


async def test_a_tap_on_a_charger_of_a_similar_name_is_not_intercepted(world: GatewayWorld) -> None:
    await charger(world, "CB_1", "ABCD2345")
    await charger(world, "CBX1", "ABCD2346")
    await charger(world, "CB:1", "ABCD2347")
    await _arm(world)

    assert [await _tap(world, box=box) for box in ("CBX1", "CB:1", "CB_1")] == [None, None, "BLOCKED"]


async def test_of_many_arms_at_the_same_time_one_wins(world: GatewayWorld) -> None:
    await charger(world)

    answers = await asyncio.gather(*(_arm(world) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert {answer.json()["error"] for answer in answers if answer.status_code == 409} == {"already_armed_for_charger"}


async def test_a_charger_can_be_armed_again_when_the_request_is_over(world: GatewayWorld) -> None:
    await charger(world)
    await _arm(world)
    await execute(world, "UPDATE pairings SET expires_at = now()")

    assert (await _arm(world)).status_code == 200


async def test_visitors_cannot_keep_a_charger_busy_for_ever(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arming, "ARMS_OF_CHARGER", 2)
    await charger(world)
    await charger(world, "CP-2", "ABCD2346")
    statuses = []
    for _ in range(3):
        statuses.append((await _arm(world)).status_code)
        await execute(world, "UPDATE pairings SET expires_at = now()")

    assert statuses == [200, 200, 429]
    assert (await _arm(world, {"chargeBoxId": "ABCD2346"})).status_code == 200


async def test_one_address_cannot_arm_everything(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arming, "ARMS_FROM_ADDRESS", 2)
    for n in "234":
        await charger(world, f"CP-{n}", f"ABCD222{n}")

    answers = [await _arm(world, {"chargeBoxId": f"ABCD222{n}"}) for n in "234"]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert _error(answers[2]) == (429, "rate_limited")


async def test_an_address_that_asks_without_end_keeps_nobody_else_from_asking(world: GatewayWorld) -> None:
    await charger(world)
    for _ in range(35):
        tired = await _arm(world)
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

    refused = await _arm(world)
    ways = (await world.customer.get("/api/auth/login-methods")).json()["methods"]
    await world.operator()
    armed = await world.admin.post(PAIR, json={"chargeBoxId": "CP-1"}, headers={"origin": ADMIN_URL})

    assert _error(refused) == (403, "scan_sign_in_attended")
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
    assert _error(ambiguous) == (400, "chargeBoxId required")
    assert _error(offline) == (400, "no_chargers_online")


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

    assert _error(answer) == error


async def test_arming_a_device_asks_it_to_read_a_card(world: GatewayWorld) -> None:
    phone = await _online_phone(world)

    body = (await _arm(world, {"pairableType": "device", "deviceId": phone.device_id.upper()})).json()

    assert set(body) == {"pairingCode", "pairableType", "deviceId", "expiresInSec", "expiresAtEpochMs"}
    assert body["deviceId"] == phone.device_id
    assert len(body["pairingCode"]) == 6
    (event,) = await events(world, "device.scan.requested")
    assert (event["pairingCode"], event["purpose"]) == (body["pairingCode"], "login")
    assert event["audience"] == [f"device:{phone.device_id}"]


async def test_a_device_that_cannot_read_a_card_now_is_not_armed(world: GatewayWorld) -> None:
    phone = await _online_phone(world)
    body = {"pairableType": "device", "deviceId": phone.device_id}

    assert _error(await _arm(world, body | {"deviceId": str(uuid4())})) == (404, "not_found")
    await phone.be_seen("91 seconds")
    assert _error(await _arm(world, body)) == (409, "device_offline")
    await phone.be_seen()
    assert (await _arm(world, body)).status_code == 200
    assert _error(await _arm(world, body)) == (409, "already_armed_for_device")
    await execute(world, "UPDATE devices SET capabilities = '{user}'")
    assert _error(await _arm(world, body)) == (400, "capability_missing")
    await execute(world, "UPDATE devices SET revoked_at = now()")
    assert _error(await _arm(world, body)) == (410, "device_revoked")


async def test_visitors_cannot_make_an_operator_s_phone_ring_for_ever(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arming, "ARMS_OF_DEVICE", 1)
    phone = await _online_phone(world)
    body = {"pairableType": "device", "deviceId": phone.device_id}
    await _arm(world, body)
    await execute(world, "UPDATE pairings SET expires_at = now()")

    assert _error(await _arm(world, body)) == (429, "rate_limited")


async def test_visitors_see_chargers_and_operators_see_devices_too(world: GatewayWorld) -> None:
    await charger(world)
    phone = await _online_phone(world)

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


async def test_the_same_card_gets_the_same_answer_and_is_read_once(world: GatewayWorld) -> None:
    await _ready(world)

    again = await asyncio.gather(*(_tap(world, tag) for tag in (TAG, TAG.lower(), TAG)))

    assert again == ["BLOCKED"] * 3
    assert len(await world.audited("scan.detected")) == 1


async def test_taps_of_the_same_card_at_the_same_time_get_the_same_answer(world: GatewayWorld) -> None:
    await charger(world)
    await _arm(world)

    answers = await asyncio.gather(*(_tap(world) for _ in range(6)))

    assert answers == ["BLOCKED"] * 6
    assert len(await world.audited("scan.detected")) == 1


async def test_of_two_cards_at_the_same_time_one_is_read_and_the_other_charges(world: GatewayWorld) -> None:
    await charger(world)
    await _arm(world)

    answers = await asyncio.gather(_tap(world, "04A1"), _tap(world, "04B2"))

    assert sorted(answers, key=str) == ["BLOCKED", None]


async def test_a_second_card_within_the_term_charges(world: GatewayWorld) -> None:
    await _ready(world)

    assert await _tap(world, "04FFFFFF") is None


@pytest.mark.parametrize("end", ["UPDATE pairings SET expires_at = now()", "UPDATE pairings SET status = 'released'"])
async def test_a_tap_after_the_request_is_over_charges(world: GatewayWorld, end: str) -> None:
    await charger(world)
    await _arm(world)
    await execute(world, end)

    assert await _tap(world) is None


async def test_two_armed_chargers_do_not_mix(world: GatewayWorld) -> None:
    await charger(world)
    await charger(world, "CP-2", "ABCD2346")
    codes = [(await _arm(world, {"chargeBoxId": c})).json()["pairingCode"] for c in ("ABCD2345", "ABCD2346")]

    assert [await _tap(world, "04A1", "CP-1"), await _tap(world, "04B2", "CP-2")] == ["BLOCKED"] * 2
    read = await value(world, "SELECT string_agg(matched_id_tag, ' ' ORDER BY target) FROM pairings")
    assert (read, len(set(codes))) == ("04A1 04B2", 2)


async def test_a_driver_whose_car_charges_is_never_refused(world: GatewayWorld) -> None:
    user_id = await world.user()
    await charger(world)
    await card_of(world, user_id, "04A1")
    await card_of(world, user_id, "04B2")
    await world.session(user_id, 1, id_tag="04A1")
    await _arm(world)

    assert [await _tap(world, "04A1"), await _tap(world, "04b2"), await _tap(world, "04C3")] == [None, None, "BLOCKED"]


async def test_a_car_that_begins_to_charge_is_not_stopped(world: GatewayWorld) -> None:
    await charger(world)
    await _arm(world)

    assert await _tap(world, start=True) is None


async def test_a_tap_that_was_read_does_not_start_a_charge(world: GatewayWorld) -> None:
    await _ready(world)

    assert await _tap(world, start=True) == "BLOCKED"


async def test_while_the_database_is_slow_steve_decides_and_is_answered_in_time(world: GatewayWorld) -> None:
    await charger(world)
    await _arm(world)
    world.app.state.resources.taps.budget_seconds = BUDGET_SECONDS
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("LOCK TABLE pairings IN ACCESS EXCLUSIVE MODE"))
        began = time.perf_counter()
        override = await _tap(world)
        took = time.perf_counter() - began

    assert (override, took < 1) == (None, True)


async def test_a_login_is_used_up_by_the_first_of_many(world: GatewayWorld) -> None:
    _, login = await _ready(world)

    answers = await asyncio.gather(
        *(world.steve.post(LOGIN, json=login, headers={"host": "polaris.test"}) for _ in range(4))
    )

    assert sorted(answer.status_code for answer in answers) == [200, 429, 429, 429]
    assert await value(world, "SELECT count(*) FROM auth_sessions") == 1


async def test_a_proof_that_is_not_ours_is_refused_and_costs_the_driver_nothing(world: GatewayWorld) -> None:
    _, login = await _ready(world)
    spoiled = [
        {"nonce": "0" * 64},
        {"nonce": login["nonce"][:-1]},
        {"idTag": "0" * 32},
        {"t": login["t"] + 1},
        {"pairingCode": "other"},
        {"chargeBoxId": "CP-9"},
    ]

    for change in spoiled:
        assert _error(await world.customer.post(LOGIN, json=login | change)) == (403, "forbidden")
    assert (await world.customer.post(LOGIN, json=login | {"nonce": login["nonce"].upper()})).status_code == 200
    reasons = {row.details["reason"] for row in await world.audited("scan.login_failed")}
    assert reasons == {"hmac_mismatch"}


async def test_a_tap_older_than_a_minute_is_stale(world: GatewayWorld) -> None:
    _, login = await _ready(world)
    await execute(world, "UPDATE pairings SET matched_at = now() - interval '61 seconds'")

    login = await _tapped(world, login["pairingCode"])

    assert _error(await world.customer.post(LOGIN, json=login)) == (403, "stale")


async def test_a_request_for_something_else_signs_nobody_in(world: GatewayWorld) -> None:
    _, login = await _ready(world)
    await execute(world, "UPDATE pairings SET purpose = 'admin-link'")

    assert _error(await world.customer.post(LOGIN, json=login)) == (429, "rate_limited")


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
    _, login = await _ready(world)
    await execute(world, spoil)

    answer = await world.customer.post(LOGIN, json=login)

    assert _error(answer) == (401, "unauthorized")
    assert "set-cookie" not in answer.headers
    assert await value(world, "SELECT status FROM pairings") == "matched"


@pytest.mark.parametrize("end", ["UPDATE pairings SET expires_at = now()", "UPDATE pairings SET status = 'released'"])
async def test_a_request_that_is_over_signs_nobody_in(world: GatewayWorld, end: str) -> None:
    _, login = await _ready(world)
    await execute(world, end)

    assert _error(await world.customer.post(LOGIN, json=login)) == (429, "rate_limited")


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

    assert _error(await world.customer.post(LOGIN, json=login)) == (400, "invalid_body")


async def test_a_login_that_is_not_json_is_refused(world: GatewayWorld) -> None:
    headers = {"content-type": "application/json"}

    assert _error(await world.customer.post(LOGIN, content=b"{", headers=headers)) == (400, "invalid_json")


async def test_a_foreign_page_signs_nobody_in_with_a_card(world: GatewayWorld) -> None:
    _, login = await _ready(world)

    assert (await world.customer.post(LOGIN, json=login, headers={"origin": "https://evil.test"})).status_code == 403


async def _release(world: GatewayWorld, body: Any) -> httpx.Response:
    return await world.customer.request("DELETE", PAIR, json=body)


async def test_giving_up_is_safe_to_repeat_and_frees_the_charger(world: GatewayWorld) -> None:
    await charger(world)
    code = (await _arm(world)).json()["pairingCode"]

    answers = [await _release(world, {"chargeBoxId": "CP-1", "pairingCode": c}) for c in (code, code, "unknown")]

    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 3
    assert await _tap(world) is None
    assert (await _arm(world)).status_code == 200


async def test_giving_up_tells_the_device_once(world: GatewayWorld) -> None:
    phone = await _online_phone(world)
    code = (await _arm(world, {"pairableType": "device", "deviceId": phone.device_id})).json()["pairingCode"]

    for _ in range(2):
        assert (await _release(world, {"deviceId": phone.device_id, "pairingCode": code})).status_code == 204

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
    assert _error(await _release(world, body)) == (400, error)


async def _armed_phone(world: GatewayWorld, purpose: str = "view-card") -> tuple[Phone, str]:
    phone = await _online_phone(world)
    body = {"purpose": purpose, "hintLabel": "  Front desk " + "x" * 100}
    answer = await world.admin.post(
        f"/api/admin/devices/{phone.device_id}/scan-arm", json=body, headers={"origin": ADMIN_URL}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "ok": True,
        "pairingCode": answer.json()["pairingCode"],
        "deviceId": phone.device_id,
        "expiresInSec": 90,
        "purpose": purpose,
    }
    return phone, answer.json()["pairingCode"]


async def test_an_operator_asks_a_phone_for_a_card_and_is_told_of_a_conflict(world: GatewayWorld) -> None:
    phone, code = await _armed_phone(world, "admin-link")

    conflict = await world.admin.post(
        f"/api/admin/devices/{phone.device_id}/scan-arm", json={"purpose": "login"}, headers={"origin": ADMIN_URL}
    )

    assert _error(conflict) == (409, "conflict")
    assert (conflict.json()["pairingCode"], conflict.json()["purpose"]) == (code, "admin-link")
    assert 80 <= conflict.json()["expiresInSec"] <= 90
    hint = await value(world, "SELECT hint_label FROM pairings")
    assert (hint[:10], len(hint)) == ("Front desk", 80)


async def test_an_operator_takes_back_what_was_asked(world: GatewayWorld) -> None:
    phone, code = await _armed_phone(world)

    answer = await world.admin.request(
        "DELETE",
        f"/api/admin/devices/{phone.device_id}/scan-arm",
        json={"pairingCode": code},
        headers={"origin": ADMIN_URL},
    )

    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert [event["source"] for event in await events(world, "device.scan.cancelled")] == ["admin"]
    assert len(await world.audited("device.scan.released")) == 1


async def test_a_phone_tells_what_card_it_read_and_learns_whose_it_is(world: GatewayWorld) -> None:
    user_id = await world.user()
    await card_of(world, user_id, TAG, lago_customer_external_id="c1", display_name="Blue card")
    await execute(
        world,
        "INSERT INTO lago_customers (lago_id, external_id, name, timezone, payload)"
        " VALUES ('c', 'c1', 'Ann Ltd', 'UTC', '{\"slug\": \"ann\"}')",
    )
    await execute(
        world,
        "INSERT INTO lago_subscriptions (lago_id, external_id, external_customer_id, plan_code, status, payload,"
        " period_ending_at) VALUES ('s', 'sub', 'c1', 'standard', 'active', '{}', '2026-12-31T00:00:00Z')",
    )
    phone, code = await _armed_phone(world)

    pending = await phone.call("GET", f"/api/devices/scan-result/{code}")
    answer = await phone.tell(TAG.lower(), code)
    later = await phone.call("GET", f"/api/devices/scan-result/{code}")

    body = answer.json()
    assert (pending.status_code, pending.json()) == (202, {"status": "pending"})
    assert (answer.status_code, later.status_code) == (200, 200)
    assert body | {"resolvedAtIso": ""} == {
        "ok": True,
        "found": True,
        "pairingCode": code,
        "idTag": TAG,
        "resolvedAtIso": "",
        "tag": {"displayName": "Blue card", "tagType": "ev_card"},
        "customer": {"displayName": "Ann Ltd", "slug": "ann"},
        "subscription": {
            "planLabel": "standard",
            "status": "active",
            "currentPeriodEndIso": "2026-12-31T00:00:00Z",
            "billingTier": "standard",
        },
    }
    (row,) = await world.audited("device.scan.completed")
    assert row.details["idTagPrefix"] == TAG[:4]
    (seen,) = await events(world, "tag.seen")
    assert seen == {"audience": ["operators"], "idTag": TAG, "chargeBoxId": None, "seenAt": seen["seenAt"]}


async def test_a_card_that_nobody_knows_is_no_error(world: GatewayWorld) -> None:
    phone, code = await _armed_phone(world)

    body = (await phone.tell(TAG, code)).json()

    assert (body["found"], body["tag"], body["customer"], body["subscription"]) == (False, None, None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"idTag": ""},
        {"idTag": "x" * 65},
        {"pairingCode": ""},
        {"ts": "1"},
        {"ts": 1.5},
        {"nonce": "x" * 129},
        {"nonce": None},
    ],
)
async def test_an_unusable_scan_is_refused(world: GatewayWorld, change: dict[str, Any]) -> None:
    phone, code = await _armed_phone(world)

    answer = await phone.call("POST", "/api/devices/scan-result", json=phone.scan(TAG, code) | change)

    assert _error(answer) == (400, "invalid_body")


@pytest.mark.parametrize("skew", [-120, -61, 61, 120])
async def test_a_scan_of_another_time_is_refused(world: GatewayWorld, skew: int) -> None:
    phone, code = await _armed_phone(world)

    assert _error(await phone.tell(TAG, code, ts=int(time.time()) + skew)) == (400, "clock_skew")


async def test_a_scan_that_waited_for_the_network_counts_while_its_request_stands(world: GatewayWorld) -> None:
    phone, code = await _armed_phone(world)
    await execute(
        world,
        "UPDATE pairings SET created_at = now() - interval '80 seconds', expires_at = now() + interval '10 seconds'",
    )

    assert (await phone.tell(TAG, code, ts=int(time.time()) - 70)).status_code == 200


async def test_a_wrong_signature_changes_nothing(world: GatewayWorld) -> None:
    phone, code = await _armed_phone(world)
    good = phone.scan(TAG, code)

    for change in ({"nonce": "0" * 64}, {"idTag": "04FF"}, {"ts": good["ts"] - 1}):
        answer = await phone.call("POST", "/api/devices/scan-result", json=good | change)
        assert _error(answer) == (401, "invalid_nonce")
    upper = await phone.call("POST", "/api/devices/scan-result", json=good | {"nonce": good["nonce"].upper()})
    assert upper.status_code == 200


async def test_a_replayed_scan_finds_nothing_to_do(world: GatewayWorld) -> None:
    phone, code = await _armed_phone(world)
    body = phone.scan(TAG, code)

    answers = [await phone.call("POST", "/api/devices/scan-result", json=body) for _ in range(2)]

    assert answers[0].status_code == 200
    assert _error(answers[1]) == (429, "rate_limited")


async def test_a_phone_answers_its_own_requests_only(world: GatewayWorld) -> None:
    phone, code = await _armed_phone(world)
    other = await register(world, label="Other")

    assert _error(await other.tell(TAG, code)) == (429, "rate_limited")
    assert (await other.call("GET", f"/api/devices/scan-result/{code}")).status_code == 404
    assert (await other.call("POST", "/api/devices/scan-cancel", json={"pairingCode": code})).status_code == 200
    assert (await phone.tell(TAG, code)).status_code == 200


async def test_a_phone_gives_a_request_up(world: GatewayWorld) -> None:
    phone, code = await _armed_phone(world)

    for _ in range(2):
        answer = await phone.call("POST", "/api/devices/scan-cancel", json={"pairingCode": code})
        assert (answer.status_code, answer.json()) == (200, {"ok": True})

    assert _error(await phone.tell(TAG, code)) == (429, "rate_limited")
    assert [event["source"] for event in await events(world, "device.scan.cancelled")] == ["device"]


@pytest.mark.parametrize(
    ("secret", "message", "nonce"),
    [
        (
            "A" * 43,
            ("04AB12CDEF1234", "X7R2KQ", "00000000-0000-0000-0000-000000000001", 1745622000),
            "2345bb48320f6a0f89953af9491569ba350e83e7e4c8ea136867ca6a5a648e1f",
        ),
        (
            "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI",
            ("0123456789ABCDEF", "ABC123", "11111111-2222-3333-4444-555555555555", 1700000000),
            "ce4439749adbb90224d1ef50e788fc28ced71b0ed7674bb0019542e1a9aa8361",
        ),
    ],
)
def test_the_verified_scan_signatures(secret: str, message: tuple[str, str, str, int], nonce: str) -> None:
    from polaris_common.identity.devices import decoded, scan_signature

    id_tag, code, device_id, ts = message
    signature = scan_signature(decoded(secret), id_tag=id_tag, pairing_code=code, device_id=UUID(device_id), ts=ts)
    assert signature == nonce
