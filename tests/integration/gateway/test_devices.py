"""What a device does with itself, and what a person's devices are."""

from typing import Any

import httpx
import pytest
from tests.support.gateway import GatewayWorld
from tests.support.phone import (
    PUSH_TOKEN,
    Phone,
    card_of,
    events,
    execute,
    phone_of,
    printed_id,
    qr_sign_in,
    register,
    value,
)

from polaris_common.models import Role


async def _put_token(phone: Phone, device_id: str, **changes: Any) -> httpx.Response:
    body = {"pushToken": PUSH_TOKEN, "apnsEnvironment": "production"} | changes
    return await phone.call("PUT", f"/api/devices/{device_id}/push-token", json=body)


async def test_a_push_token_arrives_as_base64_and_is_kept_as_apns_wants_it(world: GatewayWorld) -> None:
    await world.operator()
    phone = await register(world)

    answer = await _put_token(phone, phone.device_id)

    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    stored = await value(world, "SELECT push_token || ' ' || apns_environment FROM devices")
    assert stored == f"{bytes(range(32)).hex()} production"


async def test_a_push_token_belongs_to_one_device(world: GatewayWorld) -> None:
    await world.operator()
    one, other = await register(world), await register(world, label="Other")

    await _put_token(one, one.device_id)
    await _put_token(other, other.device_id, pushToken=bytes(range(32)).hex())

    owner = await value(world, "SELECT CAST(id AS text) FROM devices WHERE push_token IS NOT NULL")
    assert owner == other.device_id


@pytest.mark.parametrize("token", ["", "x" * 513, "!!!!", None])
async def test_an_unusable_push_token_is_refused(world: GatewayWorld, token: str | None) -> None:
    await world.operator()
    phone = await register(world)

    answer = await _put_token(phone, phone.device_id, pushToken=token)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_body")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_device_acts_for_itself_only(world: GatewayWorld, method: str) -> None:
    await world.operator()
    phone, other = await register(world), await register(world, label="Other")
    suffix = "/push-token" if method == "PUT" else ""
    body = {"json": {"pushToken": PUSH_TOKEN, "apnsEnvironment": "sandbox"}} if method == "PUT" else {}

    foreign = await phone.call(method, f"/api/devices/{other.device_id}{suffix}", **body)
    nonsense = await phone.call(method, f"/api/devices/nonsense{suffix}", **body)

    assert (foreign.status_code, foreign.json()["error"]) == (403, "forbidden")
    assert (nonsense.status_code, nonsense.json()["error"]) == (404, "not_found")


async def test_signing_out_ends_the_device_for_good(world: GatewayWorld) -> None:
    user_id = await world.user()
    await execute(world, "UPDATE users SET lago_customer_external_id = 'c1' WHERE id = :id", id=user_id)
    phone = phone_of(world, await qr_sign_in(world, await printed_id(world, user_id), pushToken=PUSH_TOKEN))

    answer = await phone.call("DELETE", f"/api/devices/{phone.device_id}")

    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert (await phone.call("GET", "/api/devices/me")).status_code == 401
    assert await value(world, "SELECT push_token FROM devices") is None
    mapping = await value(
        world, "SELECT is_active::text || deactivation_reason FROM tag_mappings WHERE tag_type = 'app'"
    )
    assert mapping == "falseoperator"
    assert [row.details["reason"] for row in await world.audited("device.deregistered")] == ["self"]
    (event,) = await events(world, "device.token.revoked")
    assert event["audience"] == [f"device:{phone.device_id}"]


async def test_the_plan_is_shown_to_drivers(world: GatewayWorld) -> None:
    user_id = await world.user()
    await execute(world, "UPDATE users SET lago_customer_external_id = 'c1' WHERE id = :id", id=user_id)
    await execute(
        world,
        "INSERT INTO lago_subscriptions (lago_id, external_id, external_customer_id, plan_code, status, payload)"
        " VALUES ('s', 'sub', 'c1', 'ac-plus', 'active', '{}')",
    )
    await execute(
        world,
        "INSERT INTO lago_plans (lago_id, code, name, metric_codes, payload)"
        " VALUES ('p', 'ac-plus', 'AC Plus', '{}', '{}')",
    )
    phone = phone_of(world, await qr_sign_in(world, await printed_id(world, user_id)))

    me = (await phone.call("GET", "/api/devices/me")).json()

    assert (me["planCode"], me["planName"], me["ownerRole"]) == ("ac-plus", "AC Plus", "customer")


async def test_a_person_has_ten_devices_and_the_one_silent_for_longest_goes(world: GatewayWorld) -> None:
    user_id = await world.user(Role.CUSTOMER)
    card = await printed_id(world, user_id)
    phones = []
    for n in range(11):
        await execute(world, "TRUNCATE auth_audit")
        world.app.state.resources.limits._lots.clear()
        await world.app.state.resources.jobs.redis.flushall()
        phones.append(phone_of(world, await qr_sign_in(world, card, deviceLabel=f"Phone {n}")))
        if n != 1:  # the second one is never heard of
            await execute(
                world,
                "UPDATE devices SET last_seen_at = now(), registered_at = now() - interval '1 day'"
                " WHERE id = CAST(:id AS uuid)",
                id=phones[-1].device_id,
            )
        else:
            await execute(
                world,
                "UPDATE devices SET registered_at = now() - interval '2 days' WHERE id = CAST(:id AS uuid)",
                id=phones[-1].device_id,
            )

    alive = [(await phone.call("GET", "/api/devices/me")).status_code == 200 for phone in phones]

    assert alive == [True, False, *[True] * 9]


async def test_a_card_number_does_not_become_a_capability(world: GatewayWorld) -> None:
    user_id = await world.user()
    await card_of(world, user_id)
    answer = await qr_sign_in(world, await printed_id(world, user_id), requestedCapabilities=["managed", "scanner"])

    assert answer.json()["device"]["capabilities"] == ["user"]
