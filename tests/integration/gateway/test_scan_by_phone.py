"""Operators' phones that read a card when they are asked to."""

import time
from typing import Any
from uuid import UUID

import pytest
from tests.support.card_reading import TAG, online_phone, refusal
from tests.support.gateway import ADMIN_URL, GatewayWorld
from tests.support.phone import Phone, card_of, events, execute, register, value


async def armed_phone(world: GatewayWorld, purpose: str = "view-card") -> tuple[Phone, str]:
    phone = await online_phone(world)
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
    phone, code = await armed_phone(world, "admin-link")

    conflict = await world.admin.post(
        f"/api/admin/devices/{phone.device_id}/scan-arm", json={"purpose": "login"}, headers={"origin": ADMIN_URL}
    )

    assert refusal(conflict) == (409, "conflict")
    assert (conflict.json()["pairingCode"], conflict.json()["purpose"]) == (code, "admin-link")
    assert 80 <= conflict.json()["expiresInSec"] <= 90
    hint = await value(world, "SELECT hint_label FROM pairings")
    assert (hint[:10], len(hint)) == ("Front desk", 80)


async def test_an_operator_takes_back_what_was_asked(world: GatewayWorld) -> None:
    phone, code = await armed_phone(world)

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
    phone, code = await armed_phone(world)

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
    phone, code = await armed_phone(world)

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
    phone, code = await armed_phone(world)

    answer = await phone.call("POST", "/api/devices/scan-result", json=phone.scan(TAG, code) | change)

    assert refusal(answer) == (400, "invalid_body")


@pytest.mark.parametrize("skew", [-120, -61, 61, 120])
async def test_a_scan_of_another_time_is_refused(world: GatewayWorld, skew: int) -> None:
    phone, code = await armed_phone(world)

    assert refusal(await phone.tell(TAG, code, ts=int(time.time()) + skew)) == (400, "clock_skew")


async def test_a_scan_that_waited_for_the_network_counts_while_its_request_stands(world: GatewayWorld) -> None:
    phone, code = await armed_phone(world)
    await execute(
        world,
        "UPDATE pairings SET created_at = now() - interval '80 seconds', expires_at = now() + interval '10 seconds'",
    )

    assert (await phone.tell(TAG, code, ts=int(time.time()) - 70)).status_code == 200


async def test_a_wrong_signature_changes_nothing(world: GatewayWorld) -> None:
    phone, code = await armed_phone(world)
    good = phone.scan(TAG, code)

    for change in ({"nonce": "0" * 64}, {"idTag": "04FF"}, {"ts": good["ts"] - 1}):
        answer = await phone.call("POST", "/api/devices/scan-result", json=good | change)
        assert refusal(answer) == (401, "invalid_nonce")
    upper = await phone.call("POST", "/api/devices/scan-result", json=good | {"nonce": good["nonce"].upper()})
    assert upper.status_code == 200


async def test_a_replayed_scan_finds_nothing_to_do(world: GatewayWorld) -> None:
    phone, code = await armed_phone(world)
    body = phone.scan(TAG, code)

    answers = [await phone.call("POST", "/api/devices/scan-result", json=body) for _ in range(2)]

    assert answers[0].status_code == 200
    assert refusal(answers[1]) == (429, "rate_limited")


async def test_a_phone_answers_its_own_requests_only(world: GatewayWorld) -> None:
    phone, code = await armed_phone(world)
    other = await register(world, label="Other")

    assert refusal(await other.tell(TAG, code)) == (429, "rate_limited")
    assert (await other.call("GET", f"/api/devices/scan-result/{code}")).status_code == 404
    assert (await other.call("POST", "/api/devices/scan-cancel", json={"pairingCode": code})).status_code == 200
    assert (await phone.tell(TAG, code)).status_code == 200


async def test_a_phone_gives_a_request_up(world: GatewayWorld) -> None:
    phone, code = await armed_phone(world)

    for _ in range(2):
        answer = await phone.call("POST", "/api/devices/scan-cancel", json={"pairingCode": code})
        assert (answer.status_code, answer.json()) == (200, {"ok": True})

    assert refusal(await phone.tell(TAG, code)) == (429, "rate_limited")
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
