"""Signing in on a phone: with a card's number, or with a mailed link."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from limits.errors import StorageError
from sqlalchemy import text
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, GatewayWorld
from tests.support.phone import (
    details,
    events,
    execute,
    phone_of,
    printed_id,
    qr_sign_in,
    user_row,
    value,
)

from gateway.app_sign_in import service
from gateway.settings import QrSignInMode
from polaris_common.identity import one_time
from polaris_common.models import Role, TokenPurpose

LINK = "/api/auth/magic-link/verify"


async def _link_for(world: GatewayWorld, user_id: UUID) -> str:
    user = await user_row(world, user_id)
    async with world.database.unit_of_work() as uow:
        return await one_time.issue(
            uow,
            TokenPurpose.MAGIC_LINK,
            lifetime=timedelta(minutes=15),
            user_id=user_id,
            payload={"email": user.email},
        )


async def _with_link(
    world: GatewayWorld, token: str, *, host: str = "manage.polaris.test", **more: Any
) -> httpx.Response:
    return await world.steve.post(LINK, json=details(token=token, **more), headers={"host": host})


def _use_mode(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch, mode: QrSignInMode) -> None:
    monkeypatch.setattr(world.settings, "qr_sign_in_mode", mode)


@pytest.mark.parametrize("host", [ADMIN_URL, CUSTOMER_URL])
async def test_a_card_s_number_signs_its_driver_in_on_both_hosts(world: GatewayWorld, host: str) -> None:
    user_id = await world.user()
    user = await user_row(world, user_id)

    answer = await qr_sign_in(world, await printed_id(world, user_id), host=host)
    body = answer.json()

    assert answer.status_code == 200
    assert body == {
        "device": {
            "id": body["device"]["id"],
            "label": "Ann's iPhone",
            "capabilities": ["user"],
            "ownerUserId": str(user_id),
        },
        "token": body["token"],
        "user": {"id": str(user_id), "publicId": user.public_id, "name": "Ann", "email": "ann@example.org"},
    }
    assert set(body["token"]) == {"id", "deviceToken", "deviceSecret", "expiresAt"}
    assert (len(body["token"]["deviceToken"]), len(body["token"]["deviceSecret"])) == (47, 43)
    assert answer.headers.get_list("content-type") == ["application/json"]
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    assert (await phone_of(world, answer).call("GET", "/api/devices/me")).status_code == 200


async def test_the_cookie_of_a_card_sign_in_is_a_driver_s_session(world: GatewayWorld) -> None:
    user_id = await world.user()

    answer = await world.customer.post(
        "/api/auth/qr-sign-in", json=details(userPublicId=await printed_id(world, user_id))
    )

    assert answer.status_code == 200
    assert (await world.customer.get("/api/customer/sessions")).status_code == 200


async def test_the_app_signs_in_again_although_it_sends_an_old_cookie_and_no_origin(world: GatewayWorld) -> None:
    user_id = await world.user()
    card = await printed_id(world, user_id)
    await world.customer.post("/api/auth/qr-sign-in", json=details(userPublicId=card))

    again = await world.customer.post("/api/auth/qr-sign-in", json=details(userPublicId=card))

    assert again.status_code == 200


@pytest.mark.parametrize("path", ["/api/auth/qr-sign-in", LINK, "/api/devices/register"])
async def test_a_foreign_page_signs_nobody_in(world: GatewayWorld, path: str) -> None:
    user_id = await world.user()
    body = details(userPublicId=await printed_id(world, user_id), token=await _link_for(world, user_id))

    answer = await world.customer.post(path, json=body, headers={"origin": "https://evil.test"})

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_a_driver_without_an_address_signs_in_too(world: GatewayWorld) -> None:
    user_id = await world.user(email=None, password=False)

    answer = await qr_sign_in(world, await printed_id(world, user_id))

    assert (answer.status_code, answer.json()["user"]["email"]) == (200, None)


@pytest.mark.parametrize("setup", ["unknown", "disabled", "expired", "rotated", "operator", "off"])
async def test_whatever_is_wrong_with_a_card_the_answer_is_the_same(
    world: GatewayWorld, setup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await world.user()
    card = await printed_id(world, user_id)
    match setup:
        case "unknown":
            card = "22222222"
        case "disabled":
            await execute(world, "UPDATE qr_cards SET disabled_at = now()")
        case "expired":
            await execute(world, "UPDATE qr_cards SET issued_at = now() - interval '366 days'")
        case "rotated":
            await execute(world, "UPDATE qr_cards SET printed_id = 'ZZZZ2222'")
        case "operator":
            await execute(world, "UPDATE users SET role = 'admin'")
        case "off":
            _use_mode(world, monkeypatch, QrSignInMode.OFF)

    answer = await qr_sign_in(world, card)

    assert answer.status_code == 404
    assert answer.json() | {"requestId": ""} == {
        "error": "not_found",
        "message": "There is nothing here.",
        "requestId": "",
    }
    assert "set-cookie" not in answer.headers
    assert await value(world, "SELECT count(*) FROM devices") == 0
    assert len(await world.audited("qr.login_failed")) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"userPublicId": "2222222"},
        {"userPublicId": "222222222"},
        {"userPublicId": "2222222O"},
        {"userPublicId": "2222222a"},
        {"userPublicId": "22222222\n"},
        {"userPublicId": None},
        {"deviceLabel": ""},
        {"deviceLabel": "x" * 121},
        {"platform": "android"},
        {"model": ""},
        {"osVersion": "x" * 41},
        {"appVersion": "x" * 41},
        {"pushToken": "x" * 513},
        {"apnsEnvironment": "beta"},
    ],
)
async def test_an_unusable_body_is_refused(world: GatewayWorld, changes: dict[str, Any]) -> None:
    body = details(userPublicId="22222222") | changes

    answer = await world.steve.post("/api/auth/qr-sign-in", json=body, headers={"host": "polaris.test"})

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_body")
    assert answer.headers["cache-control"] == "no-store"


async def test_a_lost_answer_leaves_no_second_device_behind(world: GatewayWorld) -> None:
    user_id = await world.user()
    card = await printed_id(world, user_id)

    lost, repeated = await qr_sign_in(world, card), await qr_sign_in(world, card)

    assert await value(world, "SELECT count(*) FROM devices") == 1
    assert (await phone_of(world, lost).call("GET", "/api/devices/me")).status_code == 401
    assert (await phone_of(world, repeated).call("GET", "/api/devices/me")).status_code == 200


async def test_another_phone_of_the_same_name_does_not_sign_the_first_one_out(world: GatewayWorld) -> None:
    user_id = await world.user()
    card = await printed_id(world, user_id)
    first = phone_of(world, await qr_sign_in(world, card))
    await first.call("GET", "/api/devices/me")

    second = phone_of(world, await qr_sign_in(world, card))

    assert second.device_id != first.device_id
    assert (await first.call("GET", "/api/devices/me")).status_code == 200


async def test_sign_ins_at_the_same_time_make_one_device(world: GatewayWorld) -> None:
    user_id = await world.user()
    card = await printed_id(world, user_id)

    answers = await asyncio.gather(*(qr_sign_in(world, card) for _ in range(4)))

    assert {answer.status_code for answer in answers} == {200}
    assert await value(world, "SELECT count(*) FROM devices") == 1
    assert await value(world, "SELECT count(*) FROM device_tokens WHERE revoked_at IS NULL") == 1


async def test_the_phone_s_tag_is_noted_for_steve_and_fits_into_ocpp(world: GatewayWorld) -> None:
    user_id = await world.user()
    await execute(world, "UPDATE users SET lago_customer_external_id = 'c1'")

    answer = await qr_sign_in(world, await printed_id(world, user_id))

    tag = await value(world, "SELECT id_tag FROM tag_mappings WHERE tag_type = 'app' AND user_id = :id", id=user_id)
    assert len(tag) <= 20
    assert answer.json()["device"]["id"].replace("-", "")[:6].upper() in tag


async def test_the_owner_is_told_of_a_new_device(world: GatewayWorld) -> None:
    user_id = await world.user()

    answer = await qr_sign_in(world, await printed_id(world, user_id))

    (event,) = await events(world, "device.registered")
    assert event["deviceId"] == answer.json()["device"]["id"]
    assert event["audience"] == ["operators", f"user:{user_id}"]
    assert event["flow"] == "qr-sign-in"
    (registered,) = await world.audited("device.registered")
    assert (registered.user_id, registered.details["flow"]) == (user_id, "qr-sign-in")
    assert len(await world.audited("device.token.issued")) == 1


async def test_nothing_is_left_when_a_step_fails(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    user_id = await world.user()
    card = await printed_id(world, user_id)

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("gateway.devices.enrolment.DeviceRepository.issue", fail)
    answer = await qr_sign_in(world, card)

    assert (answer.status_code, answer.json()["error"]) == (500, "internal")
    for table in ("devices", "device_tokens", "auth_sessions"):
        assert await value(world, f"SELECT count(*) FROM {table}") == 0  # noqa: S608


async def test_one_card_is_tried_five_times_a_minute(world: GatewayWorld) -> None:
    statuses = [(await qr_sign_in(world, "22222222")).status_code for _ in range(6)]

    assert statuses == [404] * 5 + [429]


async def test_guessing_many_cards_from_one_address_ends_soon(world: GatewayWorld) -> None:
    statuses = [(await qr_sign_in(world, f"2222222{n}")).status_code for n in "23456789ABC"]

    assert statuses == [404] * 10 + [429]


async def test_guessing_from_many_addresses_stops_all_card_sign_ins_and_operators_learn_of_it(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FAILURE_BUDGET", 4)
    user_id = await world.user()
    card = await printed_id(world, user_id)

    for n in "2345":
        await qr_sign_in(world, f"2222222{n}")
    stopped = await qr_sign_in(world, card)
    await execute(world, "UPDATE auth_audit SET created_at = now() - interval '11 minutes'")
    later = await qr_sign_in(world, card)

    assert (stopped.status_code, stopped.json()["error"]) == (429, "rate_limited")
    assert later.status_code == 200
    assert [event["failures"] for event in await events(world, "sign_in.qr_guessing")] == [4]


async def test_while_tries_cannot_be_counted_nobody_guesses_cards(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> bool:
        raise StorageError(ConnectionError())

    monkeypatch.setattr(world.app.state.resources.limits._redis, "hit", away)

    assert (await qr_sign_in(world, "22222222")).status_code == 503


async def test_with_confirmation_a_new_phone_needs_the_mailed_link(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use_mode(world, monkeypatch, QrSignInMode.CONFIRM)
    user_id = await world.user()
    card = await printed_id(world, user_id)

    refused = await qr_sign_in(world, card)
    mail = await value(
        world, "SELECT recipient || ' ' || (context -> 'values' -> 'link' ->> 'address') FROM outgoing_mails"
    )
    phone = phone_of(world, await _with_link(world, await _link_for(world, user_id)))
    await phone.call("GET", "/api/devices/me")
    known = await qr_sign_in(world, card)

    assert (refused.status_code, refused.json()["error"]) == (403, "confirmation_required")
    assert "set-cookie" not in refused.headers
    assert mail == "ann@example.org https://polaris.test/m/"
    assert known.status_code == 200


async def test_with_confirmation_who_has_no_address_still_signs_in(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use_mode(world, monkeypatch, QrSignInMode.CONFIRM)
    user_id = await world.user(email=None, password=False)

    assert (await qr_sign_in(world, await printed_id(world, user_id))).status_code == 200


async def test_an_operator_gives_a_card_a_new_number(world: GatewayWorld) -> None:
    user_id = await world.user()
    old, public_id = await printed_id(world, user_id), (await user_row(world, user_id)).public_id
    await world.operator()
    base = f"/api/admin/user/{user_id}/qr"
    origin = {"origin": ADMIN_URL}

    rotated = (await world.admin.post(f"{base}/rotate", headers=origin)).json()

    assert rotated["link"] == f"https://polaris.test/u/{rotated['printedId']}"
    assert rotated["printedId"] != old
    assert (await user_row(world, user_id)).public_id == public_id
    assert (await qr_sign_in(world, old)).status_code == 404
    assert (await qr_sign_in(world, rotated["printedId"])).status_code == 200
    assert [row.details["action"] for row in await world.audited("customer.action")] == ["qr-rotate"]


async def test_an_operator_switches_a_card_off_and_on(world: GatewayWorld) -> None:
    user_id = await world.user()
    card = await printed_id(world, user_id)
    await world.operator()
    base, origin = f"/api/admin/user/{user_id}/qr", {"origin": ADMIN_URL}

    off = await world.admin.post(f"{base}/disable", headers=origin)
    refused = await qr_sign_in(world, card)
    on = await world.admin.post(f"{base}/enable", headers=origin)

    assert (off.json()["enabled"], refused.status_code, on.json()["enabled"]) == (False, 404, True)
    assert (await qr_sign_in(world, card)).status_code == 200
    assert (await world.admin.get(base)).json()["lastUsedAt"] is not None


async def test_cards_are_operators_business(world: GatewayWorld) -> None:
    user_id = await world.driver()
    operator = await world.operator()

    assert (await world.customer.get(f"/api/admin/user/{user_id}/qr")).status_code == 404
    assert (
        await world.steve.get(f"/api/admin/user/{user_id}/qr", headers={"host": "manage.polaris.test"})
    ).status_code == 401
    assert (await world.admin.get(f"/api/admin/user/{operator}/qr")).status_code == 404


async def test_every_driver_has_a_card_whoever_made_their_account(world: GatewayWorld) -> None:
    operator = await world.user(Role.ADMIN)
    assert await value(world, "SELECT count(*) FROM qr_cards") == 0

    await execute(world, "UPDATE users SET role = 'customer' WHERE id = :id", id=operator)

    assert await printed_id(world, operator) == (await user_row(world, operator)).public_id


@pytest.mark.parametrize("host", ["manage.polaris.test", "polaris.test"])
async def test_a_mailed_link_signs_in_on_both_hosts_and_proves_the_address(world: GatewayWorld, host: str) -> None:
    user_id = await world.user()

    answer = await _with_link(world, await _link_for(world, user_id), host=host)

    assert answer.status_code == 200
    assert answer.json()["user"]["id"] == str(user_id)
    assert (await user_row(world, user_id)).email_verified
    assert [row.details["source"] for row in await world.audited("magic_link.consumed")] == ["ios_post_verify"]


async def test_a_link_works_once_however_many_use_it_at_the_same_time(world: GatewayWorld) -> None:
    token = await _link_for(world, await world.user())

    answers = await asyncio.gather(*(_with_link(world, token) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
    assert {json.loads(a.content)["error"] for a in answers if a.status_code == 401} == {"invalid_or_expired_token"}


async def test_an_expired_or_unknown_link_signs_nobody_in(world: GatewayWorld) -> None:
    token = await _link_for(world, await world.user())
    await execute(world, "UPDATE one_time_tokens SET expires_at = now()")

    for each in (token, "unknown-token"):
        answer = await _with_link(world, each)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_or_expired_token")


async def test_an_operator_s_link_makes_no_session_and_is_not_burnt(world: GatewayWorld) -> None:
    token = await _link_for(world, await world.user(Role.ADMIN))

    answer = await _with_link(world, token)

    assert (answer.status_code, answer.json()["error"]) == (403, "not_a_customer")
    assert await value(world, "SELECT count(*) FROM auth_sessions") == 0
    assert await value(world, "SELECT count(*) FROM one_time_tokens WHERE consumed_at IS NULL") == 1


@pytest.mark.parametrize("token", ["", "x" * 513, None])
async def test_a_link_without_a_usable_token_is_an_unusable_body(world: GatewayWorld, token: str | None) -> None:
    answer = await world.steve.post(LINK, json=details(token=token), headers={"host": "polaris.test"})

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_body")


async def test_one_link_is_tried_five_times_a_minute(world: GatewayWorld) -> None:
    statuses = [(await _with_link(world, "some-unknown-token")).status_code for _ in range(6)]

    assert statuses == [401] * 5 + [429]


async def test_no_table_holds_what_a_phone_signs_in_with(world: GatewayWorld) -> None:
    user_id = await world.user()
    phone = phone_of(world, await qr_sign_in(world, await printed_id(world, user_id)))

    async with world.database.unit_of_work() as uow:
        tables = ("devices", "device_tokens", "auth_audit", "domain_events", "idempotency_keys")
        queries = [text(f"SELECT coalesce(json_agg(t), '[]')::text FROM {table} t") for table in tables]  # noqa: S608
        dump = [str((await uow.execute(query)).scalar_one()) for query in queries]

    assert phone.token not in "".join(dump)
    assert phone.secret not in "".join(dump)
