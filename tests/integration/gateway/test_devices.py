"""Registering operators' devices, their credentials, and what a device does with itself."""

import asyncio
import base64
import time
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy.exc import OperationalError
from tests.support.gateway import ADMIN_URL, GatewayWorld
from tests.support.phone import (
    PUSH_TOKEN,
    Phone,
    Pkce,
    card_of,
    code_for,
    events,
    execute,
    phone_of,
    printed_id,
    qr_sign_in,
    register,
    registration,
    value,
)

from polaris_common.identity.devices import DeviceRepository
from polaris_common.models import Role

REGISTER = "/api/devices/register"


async def _post(world: GatewayWorld, body: Any, **headers: str) -> httpx.Response:
    return await world.steve.post(REGISTER, json=body, headers={"host": "manage.polaris.test", **headers})


async def test_an_operator_s_phone_registers_and_knows_who_it_is(world: GatewayWorld) -> None:
    operator = await world.operator()

    phone = await register(world, requestedCapabilities=["managed", "scanner"])
    me = (await phone.call("GET", "/api/devices/me")).json()

    assert phone.token.startswith("dev_")
    assert (len(phone.token), len(phone.secret)) == (47, 43)
    assert me == {
        "ok": True,
        "deviceId": phone.device_id,
        "ownerUserId": str(operator),
        "ownerDisplayName": "Ann",
        "ownerName": "Ann",
        "ownerEmail": "op@example.org",
        "ownerPublicId": me["ownerPublicId"],
        "ownerRole": "admin",
        "planCode": None,
        "planName": None,
        "capabilities": ["scanner", "managed"],
        "label": "Reception",
        "registeredAtIso": me["registeredAtIso"],
        "createdAtIso": me["registeredAtIso"],
        "expiresAtIso": me["expiresAtIso"],
    }
    assert len(me["expiresAtIso"]) == len("2026-01-01T00:00:00Z")


async def test_the_database_holds_neither_the_token_nor_the_secret(world: GatewayWorld) -> None:
    await world.operator()
    phone = await register(world)

    stored = await value(world, "SELECT token_hash || encode(sealed_secret, 'escape') FROM device_tokens")

    assert phone.token not in stored
    assert phone.secret not in stored
    assert await value(world, "SELECT count(*) FROM domain_events WHERE strpos(payload::text, 'dev_') > 0") == 0


async def test_a_secret_copied_to_another_device_s_row_signs_nothing(world: GatewayWorld) -> None:
    await world.operator()
    one, other = await register(world), await register(world, label="Other")
    await execute(
        world,
        "UPDATE device_tokens SET sealed_secret = (SELECT sealed_secret FROM device_tokens"
        " WHERE device_id = CAST(:one AS uuid)) WHERE device_id = CAST(:other AS uuid)",
        one=one.device_id,
        other=other.device_id,
    )

    answer = await other.call("POST", "/api/devices/scan-result", json=other.scan("04A1", "ABC234", secret=one.secret))

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_nonce")


async def test_the_page_leads_on_to_the_app_and_to_nowhere_else(world: GatewayWorld) -> None:
    await world.operator()

    page = await world.admin.get("/app/register", params={"codeChallenge": Pkce().challenge, "label": "x"})

    policy = page.headers["content-security-policy"]
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert (page.headers["cache-control"], page.headers["pragma"]) == ("no-store", "no-cache")
    assert 'location.replace("expchg://register/callback?code=' in page.text
    assert '<meta http-equiv="refresh" content="0;url=expchg://register/callback?code=' in page.text
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in page.text.replace("http-equiv", "")


async def test_a_visitor_signs_in_first_and_keeps_the_challenge(world: GatewayWorld) -> None:
    query = f"codeChallenge={Pkce().challenge}&codeChallengeMethod=S256&label=My%20phone"

    answer = await world.admin.get(f"/app/register?{query}")

    assert answer.status_code == 302
    assert answer.headers["location"] == f"/login?next={quote(f'/app/register?{query}', safe='')}"


async def test_a_driver_is_sent_to_the_drivers_site(world: GatewayWorld) -> None:
    await world.driver()
    world.admin.cookies = world.customer.cookies

    answer = await world.admin.get("/app/register", params={"codeChallenge": Pkce().challenge})

    assert (answer.status_code, answer.headers["location"]) == (302, "https://polaris.test")


async def test_the_page_does_not_exist_on_the_customer_host(world: GatewayWorld) -> None:
    assert (await world.customer.get("/app/register")).status_code == 404


@pytest.mark.parametrize("challenge", ["", "short", "x" * 129, "=" * 43, "ü" * 43])
async def test_a_page_without_a_usable_challenge_makes_no_code(world: GatewayWorld, challenge: str) -> None:
    await world.operator()

    page = await world.admin.get("/app/register", params={"codeChallenge": challenge})

    assert (page.status_code, "from the app" in page.text) == (200, True)
    assert await value(world, "SELECT count(*) FROM one_time_tokens") == 0


async def test_a_code_works_once_however_many_redeem_it_at_the_same_time(world: GatewayWorld) -> None:
    await world.operator()
    pkce = Pkce()
    body = registration(await code_for(world, pkce), pkce)

    answers = await asyncio.gather(*(_post(world, body) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_code"}
    assert await value(world, "SELECT count(*) FROM devices") == 1


async def test_a_code_with_another_s_verifier_is_worth_nothing_and_stays_good(world: GatewayWorld) -> None:
    await world.operator()
    pkce = Pkce()
    code = await code_for(world, pkce)

    stolen = await _post(world, registration(code, Pkce()))
    rightful = await _post(world, registration(code, pkce))

    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_code")
    assert rightful.status_code == 200


async def test_a_code_that_came_too_late_says_so_and_only_to_whom_it_was_made_for(world: GatewayWorld) -> None:
    await world.operator()
    pkce = Pkce()
    code = await code_for(world, pkce)
    await execute(world, "UPDATE one_time_tokens SET expires_at = now() - interval '1 second'")

    late = await _post(world, registration(code, pkce))
    stranger = await _post(world, registration(code, Pkce()))

    assert (late.status_code, late.json()["error"]) == (410, "code_expired")
    assert (stranger.status_code, stranger.json()["error"]) == (400, "invalid_code")


async def test_a_code_lives_a_minute(world: GatewayWorld) -> None:
    await world.operator()
    await code_for(world, Pkce())

    assert 59 < await value(world, "SELECT extract(epoch FROM expires_at - now()) FROM one_time_tokens") <= 60


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"oneTimeCode": "nope"}, "invalid_code"),
        ({"oneTimeCode": ""}, "invalid_code"),
        ({"oneTimeCode": None}, "invalid_code"),
        ({"oneTimeCode": "x" * 257}, "invalid_code"),
        ({"codeVerifier": "x" * 42}, "invalid_verifier"),
        ({"codeVerifier": "x" * 257}, "invalid_verifier"),
        ({"platform": "android"}, "invalid_platform"),
        ({"requestedCapabilities": []}, "invalid_capabilities"),
        ({"requestedCapabilities": ["tap"]}, "invalid_capabilities"),
        ({"requestedCapabilities": ["charger", "scanner"]}, "invalid_capabilities"),
        ({"requestedCapabilities": ["kiosk"]}, "invalid_capabilities"),
        ({"requestedCapabilities": ["kiosk", "scanner", "user"]}, "invalid_capabilities"),
        ({"requestedCapabilities": ["scanner", "scanner"]}, "invalid_capabilities"),
        ({"label": ""}, "invalid_body"),
        ({"label": "x" * 121}, "invalid_body"),
        ({"model": "x" * 81}, "invalid_body"),
        ({"apnsEnvironment": "dev"}, "invalid_body"),
        ({"pushToken": "x" * 513}, "invalid_body"),
        ({"label": "", "platform": "x", "oneTimeCode": ""}, "invalid_code"),
    ],
)
async def test_each_unusable_field_has_its_error_and_burns_no_code(
    world: GatewayWorld, changes: dict[str, Any], code: str
) -> None:
    await world.operator()
    pkce = Pkce()
    good = registration(await code_for(world, pkce), pkce)

    refused = await _post(world, good | changes)

    assert (refused.status_code, refused.json()["error"]) == (400, code)
    assert (refused.headers["cache-control"], refused.headers["pragma"]) == ("no-store", "no-cache")
    assert (await _post(world, good)).status_code == 200


@pytest.mark.parametrize("content", [b"", b"{nope", b"null", b"[]"])
async def test_a_body_that_is_no_object_is_refused(world: GatewayWorld, content: bytes) -> None:
    headers = {"host": "polaris.test", "content-type": "application/json"}

    answer = await world.steve.post(REGISTER, content=content, headers=headers)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_body")


async def test_unknown_keys_are_ignored_and_credentials_are_never_cached(world: GatewayWorld) -> None:
    await world.operator()
    pkce = Pkce()

    answer = await _post(world, registration(await code_for(world, pkce), pkce) | {"future": 1})

    assert answer.status_code == 200
    assert set(answer.json()) == {"ok", "deviceId", "deviceToken", "deviceSecret", "capabilities", "expiresAtIso"}
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")


async def test_a_repeat_with_the_same_key_gets_no_credentials(world: GatewayWorld) -> None:
    await world.operator()
    pkce = Pkce()
    body = registration(await code_for(world, pkce), pkce)
    first = await _post(world, body, **{"idempotency-key": "k"})

    again = await _post(world, body, **{"idempotency-key": "k"})

    assert (first.status_code, again.status_code) == (200, 409)
    assert "dev_" not in again.text
    kept = await value(world, "SELECT coalesce(encode(answer, 'escape'), '') FROM idempotency_keys")
    assert "dev_" not in kept


async def test_no_answer_comes_faster_than_the_floor(world: GatewayWorld) -> None:
    began = time.perf_counter()

    await _post(world, {})

    assert time.perf_counter() - began >= 0.05


async def test_what_the_code_does_not_allow_is_not_granted(world: GatewayWorld) -> None:
    await world.operator()
    pkce = Pkce()
    code = await code_for(world, pkce)
    await execute(world, """UPDATE one_time_tokens SET payload = payload || '{"requestedCapabilities": ["scanner"]}'""")

    answer = await _post(world, registration(code, pkce, requestedCapabilities=["managed", "scanner"]))

    assert answer.json()["capabilities"] == ["scanner"]


async def test_an_operator_who_is_one_no_more_registers_nothing(world: GatewayWorld) -> None:
    operator = await world.operator()
    pkce = Pkce()
    code = await code_for(world, pkce)
    await execute(world, "UPDATE users SET role = 'customer' WHERE id = :id", id=operator)

    assert (await _post(world, registration(code, pkce))).json()["error"] == "invalid_code"


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


def test_the_verified_token_hash() -> None:
    from polaris_common.identity.devices import token_hash

    token = "dev_" + base64.urlsafe_b64encode(bytes(range(32))).rstrip(b"=").decode()

    assert token == "dev_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert token_hash(token) == "fb4bc855c5e5aa928f355bf6910cda9b66eaf2e04a95c792aad03bbc6f1dc693"


def test_the_verified_challenge() -> None:
    from gateway.devices.registration import challenge_of

    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == challenge
