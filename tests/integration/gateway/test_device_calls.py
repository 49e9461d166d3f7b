"""What lets a device in, and what its calls show."""

import asyncio
import base64

import pytest
from sqlalchemy.exc import OperationalError
from tests.support.gateway import ADMIN_URL, GatewayWorld
from tests.support.phone import (
    PUSH_TOKEN,
    execute,
    phone_of,
    printed_id,
    qr_sign_in,
    register,
    value,
)

from polaris_common.identity.devices import DeviceRepository


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer ",
        "bearer {token}",
        "Bearer  x{token}",
        "Basic {token}",
        "{token}",
        "Bearer dev_",
        "Bearer dev_" + "x" * 253,
        "Bearer {token}x",
    ],
)
async def test_only_an_exact_bearer_header_lets_a_device_in(world: GatewayWorld, header: str | None) -> None:
    await world.operator()
    phone = await register(world)
    headers = {} if header is None else {"authorization": header.format(token=phone.token)}

    answer = await world.steve.get("/api/devices/me", headers={"host": "manage.polaris.test", **headers})

    assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized")


async def test_spaces_around_the_token_do_not_matter(world: GatewayWorld) -> None:
    await world.operator()
    phone = await register(world)

    answer = await phone.call("GET", "/api/devices/me", headers={"authorization": f"Bearer   {phone.token}  "})

    assert answer.status_code == 200


async def test_a_wrong_token_is_audited_by_eight_digits_of_its_hash(world: GatewayWorld) -> None:
    token = "dev_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

    await world.steve.get("/api/devices/me", headers={"host": "polaris.test", "authorization": f"Bearer {token}"})

    (row,) = await world.audited("device.token.invalid")
    assert row.details == {"hashPrefix": "fb4bc855"}
    assert row.route == "/api/devices/me"


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE device_tokens SET revoked_at = now()",
        "UPDATE device_tokens SET expires_at = now()",
        "UPDATE devices SET deleted_at = now()",
        "DELETE FROM users WHERE email = 'op@example.org'",
    ],
)
async def test_credentials_that_ended_let_nobody_in(world: GatewayWorld, end: str) -> None:
    await world.operator()
    phone = await register(world)
    await execute(world, end)

    assert (await phone.call("GET", "/api/devices/me")).status_code == 401


async def test_an_outage_is_never_a_401_which_would_wipe_the_app(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.operator()
    phone = await register(world)

    async def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, ConnectionRefusedError(), connection_invalidated=True)

    monkeypatch.setattr(DeviceRepository, "resolve", away)

    assert (await phone.call("GET", "/api/devices/me")).status_code == 503


async def test_a_token_in_use_never_expires_and_its_use_is_noted_now_and_then(world: GatewayWorld) -> None:
    await world.operator()
    phone = await register(world)
    await execute(world, "UPDATE device_tokens SET expires_at = now() + interval '10 days'")
    days = "SELECT extract(day FROM expires_at - now()) FROM device_tokens"

    await phone.call("GET", "/api/devices/me")
    assert await value(world, days) >= 364
    noted = await value(world, "SELECT last_used_at FROM device_tokens")
    await phone.call("GET", "/api/devices/me")

    assert await value(world, "SELECT last_used_at FROM device_tokens") == noted


async def test_a_phone_whose_app_calls_is_online_and_can_be_asked_for_a_card(world: GatewayWorld) -> None:
    await world.operator()
    phone = await register(world)
    arm, purpose = f"/api/admin/devices/{phone.device_id}/scan-arm", {"purpose": "view-card"}
    world.admin.headers["origin"] = ADMIN_URL

    silent = await world.admin.post(arm, json=purpose)
    await phone.call("GET", "/api/devices/me")
    online = await world.admin.post(arm, json=purpose)

    assert (silent.status_code, silent.json()["error"]) == (409, "device_offline")
    assert (online.status_code, online.json()["expiresInSec"]) == (200, 90)


async def test_a_refused_call_does_not_count_as_being_there(world: GatewayWorld) -> None:
    await world.operator()
    phone = await register(world)
    await execute(world, "UPDATE device_tokens SET revoked_at = now()")

    await phone.call("GET", "/api/devices/me")

    assert await value(world, "SELECT last_seen_at FROM devices") is None


async def test_a_device_that_calls_all_the_time_is_written_down_twice_a_minute(world: GatewayWorld) -> None:
    await world.operator()
    phone = await register(world)
    written = []
    for ago in ("0 seconds", "29 seconds", "31 seconds"):
        await phone.be_seen(ago)
        before = await value(world, "SELECT last_seen_at FROM devices")
        await asyncio.gather(*(phone.call("GET", "/api/devices/me") for _ in range(3)))
        written.append(await value(world, "SELECT last_seen_at FROM devices") != before)

    assert written == [False, False, True]


async def test_a_bearer_opens_no_cookie_route_and_a_cookie_no_bearer_route(world: GatewayWorld) -> None:
    user_id = await world.driver()
    phone = phone_of(world, await qr_sign_in(world, await printed_id(world, user_id)))

    by_bearer = await phone.call("GET", "/api/customer/sessions", headers={"host": "polaris.test"})
    by_cookie = await world.customer.get("/api/devices/me")

    assert (by_bearer.status_code, by_cookie.status_code) == (401, 401)


async def test_cookies_that_the_app_cannot_help_sending_change_nothing(world: GatewayWorld) -> None:
    await world.operator()
    phone = await register(world)
    cookies = {"cookie": "__Secure-polaris.session=whatever"}

    answer = await phone.call(
        "PUT",
        f"/api/devices/{phone.device_id}/push-token",
        json={"pushToken": PUSH_TOKEN, "apnsEnvironment": "sandbox"},
        headers=cookies,
    )

    assert answer.status_code == 200


async def test_devices_are_served_on_both_hosts(world: GatewayWorld) -> None:
    await world.operator()
    phone = await register(world)

    answers = [await phone.call("GET", "/api/devices/me", headers={"host": h}) for h in ("polaris.test", "x.test")]

    assert [answer.status_code for answer in answers] == [200, 404]


def test_the_verified_token_hash() -> None:
    from polaris_common.identity.devices import token_hash

    token = "dev_" + base64.urlsafe_b64encode(bytes(range(32))).rstrip(b"=").decode()

    assert token == "dev_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert token_hash(token) == "fb4bc855c5e5aa928f355bf6910cda9b66eaf2e04a95c792aad03bbc6f1dc693"
