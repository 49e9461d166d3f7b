"""Registering operators' devices: the page, its codes, and what they are good for."""

import asyncio
import time
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.support.gateway import GatewayWorld
from tests.support.phone import (
    Pkce,
    code_for,
    execute,
    register,
    registration,
    value,
)

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


def test_the_verified_challenge() -> None:
    from gateway.devices.registration import challenge_of

    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == challenge
