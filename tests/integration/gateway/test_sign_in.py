"""Signing in and out, and who is signed in."""

import asyncio
from http.cookies import Morsel, SimpleCookie

import httpx
import pytest
from sqlalchemy import func, select, text
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, PASSWORD, GatewayWorld

from polaris_common.models import AuthSession, Role

SIGN_IN = "/api/auth/sign-in/email"
COOKIE = "__Secure-polaris.session"


def _cookie(response: httpx.Response) -> "Morsel[str]":
    found = [SimpleCookie(header) for header in response.headers.get_list("set-cookie")]
    return next(cookie[COOKIE] for cookie in found if COOKIE in cookie)


async def test_a_driver_signs_in_and_the_token_is_in_a_guarded_cookie_only(world: GatewayWorld) -> None:
    user_id = await world.user()

    response = await world.sign_in(world.customer, "ANN@example.org")

    cookie = _cookie(response)
    assert response.json() == {
        "redirect": False,
        "url": None,
        "user": response.json()["user"] | {"id": str(user_id), "email": "ann@example.org", "role": "customer"},
    }
    assert cookie.value not in response.text
    assert (cookie["domain"], cookie["path"], cookie["samesite"]) == (".polaris.test", "/", "lax")
    assert (cookie["httponly"], cookie["secure"], cookie["max-age"]) == (True, True, "28800")


async def test_an_operator_stays_signed_in_for_a_week(world: GatewayWorld) -> None:
    await world.user(Role.ADMIN)

    assert _cookie(await world.sign_in(world.admin))["max-age"] == "604800"


async def test_who_is_not_to_be_remembered_gets_a_cookie_without_age_and_one_day(world: GatewayWorld) -> None:
    await world.user(Role.ADMIN)

    cookie = _cookie(await world.sign_in(world.admin, rememberMe=False))

    async with world.database.unit_of_work() as uow:
        hours = await uow.session.scalar(
            text("SELECT extract(epoch FROM expires_at - now()) / 3600 FROM auth_sessions")
        )
    assert cookie["max-age"] == ""
    assert 23.9 < float(hours or 0) <= 24


async def test_the_database_never_holds_the_token(world: GatewayWorld) -> None:
    await world.user()
    token = _cookie(await world.sign_in(world.customer)).value

    async with world.database.unit_of_work() as uow:
        stored = await uow.session.scalar(select(AuthSession.token_hash))
    assert stored is not None
    assert token.encode() not in stored


async def test_a_form_works_like_json(world: GatewayWorld) -> None:
    await world.user()

    form = {"email": "ann@example.org", "password": PASSWORD, "rememberMe": "false"}
    response = await world.customer.post(SIGN_IN, data=form)

    assert response.status_code == 200
    assert _cookie(response)["max-age"] == ""


async def test_unknown_address_wrong_password_and_no_password_get_the_same_answer(world: GatewayWorld) -> None:
    await world.user()
    await world.user(email="guest@example.org", password=False)

    answers = [
        await world.customer.post(SIGN_IN, json={"email": email, "password": password})
        for email, password in [
            ("ann@example.org", "not the password"),
            ("nobody@example.org", PASSWORD),
            ("guest@example.org", PASSWORD),
        ]
    ]

    bodies = [answer.json() | {"requestId": ""} for answer in answers]
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert bodies[0]["error"] == "invalid_email_or_password"
    assert bodies[0] == bodies[1] == bodies[2]
    assert not any("set-cookie" in answer.headers for answer in answers)


async def test_the_right_password_on_the_wrong_surface_is_wrong(world: GatewayWorld) -> None:
    await world.user(Role.ADMIN, email="op@example.org")
    await world.user()

    answers = [await world.sign_in(world.customer, "op@example.org"), await world.sign_in(world.admin)]

    assert [(a.status_code, a.json()["error"]) for a in answers] == [(401, "invalid_email_or_password")] * 2


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b"{",
        b"",
        b"\xff",
        b'{"email": "ann"}',
        b'{"email": {"$ne": 1}, "password": ["x"]}',
        b"[" * 10_000,
    ],
)
async def test_a_body_that_is_no_sign_in_is_refused_not_a_crash(world: GatewayWorld, body: bytes) -> None:
    response = await world.customer.post(SIGN_IN, content=body, headers={"content-type": "application/json"})

    assert (response.status_code, response.json()["error"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        b'{"email": "a@b\\u0000", "password": "x"}',
        b'{"email": "a@\\ud800", "password": "x"}',
        b'{"email": "a@b", "password": "\\ud800"}',
    ],
)
async def test_characters_that_cannot_be_stored_are_refused_not_a_crash(world: GatewayWorld, body: bytes) -> None:
    response = await world.customer.post(SIGN_IN, content=body, headers={"content-type": "application/json"})

    assert response.status_code in (400, 422)


@pytest.mark.parametrize("body", [b"--x\r\n", b"--other\r\nx", b""])
async def test_a_broken_form_is_refused_not_a_crash(world: GatewayWorld, body: bytes) -> None:
    media_type = "multipart/form-data; boundary=x"

    response = await world.customer.post(SIGN_IN, content=body, headers={"content-type": media_type})

    assert response.status_code in (400, 422)


async def test_an_enormous_body_is_refused(world: GatewayWorld) -> None:
    response = await world.customer.post(SIGN_IN, content=b"x" * 20_000)

    assert (response.status_code, response.json()["error"]) == (413, "body_too_large")


async def test_the_answer_to_who_is_signed_in_never_shows_the_token(world: GatewayWorld) -> None:
    user_id = await world.driver()

    answer = (await world.customer.get("/api/auth/get-session")).json()

    token = world.customer.cookies[COOKIE]
    assert not any(value == token for part in (answer["session"], answer["user"]) for value in part.values())
    assert set(answer["session"]) == {"id", "userId", "expiresAt", "ipAddress", "userAgent", "createdAt", "updatedAt"}
    assert set(answer["user"]) == {
        *("id", "name", "email", "emailVerified", "image", "role", "superadmin"),
        *("publicId", "createdAt", "updatedAt"),
    }
    assert (answer["session"]["userId"], answer["session"]["expiresAt"][-1]) == (str(user_id), "Z")


async def test_nobody_is_null(world: GatewayWorld) -> None:
    response = await world.customer.get("/api/auth/get-session")

    assert (response.status_code, response.json()) == (200, None)


async def test_a_forged_token_is_nobody(world: GatewayWorld) -> None:
    for token in ("x", "x" * 5000, "0" * 43):
        response = await world.customer.get("/api/auth/get-session", headers={"cookie": f"{COOKIE}={token}"})
        assert response.json() is None


async def test_signing_out_ends_the_session_and_the_cookie(world: GatewayWorld) -> None:
    await world.driver()
    token = world.customer.cookies[COOKIE]

    response = await world.customer.post("/api/auth/sign-out", headers={"origin": CUSTOMER_URL})

    again = await world.customer.get("/api/auth/get-session", headers={"cookie": f"{COOKIE}={token}"})
    async with world.database.unit_of_work() as uow:
        left = await uow.session.scalar(select(func.count()).select_from(AuthSession))
    assert (response.status_code, response.json()) == (200, {"success": True})
    assert (_cookie(response)["max-age"], COOKIE in world.customer.cookies) == ("0", False)
    assert (again.json(), left) == (None, 0)


async def test_signing_out_without_a_session_succeeds(world: GatewayWorld) -> None:
    response = await world.customer.post("/api/auth/sign-out")

    assert (response.status_code, response.json()) == (200, {"success": True})


@pytest.mark.parametrize("change", ["created_at = now() - interval '8 hours'", "expires_at = now()"])
async def test_a_driver_is_signed_out_eight_hours_after_signing_in(world: GatewayWorld, change: str) -> None:
    await world.driver()
    async with world.database.unit_of_work() as uow:
        await uow.execute(text(f"UPDATE auth_sessions SET {change}"))  # noqa: S608

    assert (await world.customer.get("/api/customer/sessions")).status_code == 401
    assert (await world.customer.get("/api/auth/get-session")).json() is None


async def test_an_operator_is_not_signed_out_after_eight_hours(world: GatewayWorld) -> None:
    await world.user(Role.ADMIN)
    await world.sign_in(world.admin)
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("UPDATE auth_sessions SET created_at = now() - interval '6 days'"))

    assert (await world.admin.get("/api/auth/get-session")).json()["user"]["role"] == "admin"


@pytest.mark.parametrize(
    "origin", [None, "https://evil.test", "null", "https://polaris.test.evil.test", "http://polaris.test"]
)
async def test_a_change_with_cookies_must_come_from_our_pages(world: GatewayWorld, origin: str | None) -> None:
    await world.driver()

    headers = {} if origin is None else {"origin": origin}
    response = await world.customer.post("/api/auth/sign-out", headers=headers)

    assert (response.status_code, response.json()["error"]) == (403, "origin_mismatch")
    assert (await world.customer.get("/api/auth/get-session")).json() is not None


async def test_a_strange_page_cannot_sign_its_visitor_in(world: GatewayWorld) -> None:
    await world.user()
    form = {"email": "ann@example.org", "password": PASSWORD}

    response = await world.customer.post(SIGN_IN, data=form, headers={"origin": "https://evil.test"})

    assert (response.status_code, "set-cookie" in response.headers) == (403, False)


@pytest.mark.parametrize("origin", [ADMIN_URL, CUSTOMER_URL, CUSTOMER_URL + "/"])
async def test_both_of_our_origins_may_change_things(world: GatewayWorld, origin: str) -> None:
    await world.driver()

    assert (await world.customer.post("/api/auth/sign-out", headers={"origin": origin})).status_code == 200


@pytest.mark.parametrize("email", ["ann@example.org", "nobody@example.org"])
async def test_wrong_passwords_make_the_next_try_wait_whether_the_address_is_known_or_not(
    world: GatewayWorld, email: str
) -> None:
    await world.user()

    tries = [await world.customer.post(SIGN_IN, json={"email": email, "password": "wrong password"}) for _ in range(6)]

    answers = [(answer.status_code, answer.headers.get("retry-after")) for answer in tries]
    assert answers == [(401, None)] * 5 + [(429, "5")]


async def test_the_right_password_waits_too_and_then_starts_the_count_again(world: GatewayWorld) -> None:
    await world.user()
    for _ in range(5):
        await world.customer.post(SIGN_IN, json={"email": "ann@example.org", "password": "wrong password"})

    early = await world.sign_in(world.customer, "Ann@Example.org")
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("UPDATE sign_in_failures SET blocked_until = now() - interval '1 second'"))
    late = await world.sign_in(world.customer)

    async with world.database.unit_of_work() as uow:
        left = await uow.session.scalar(text("SELECT count(*) FROM sign_in_failures"))
    assert (early.status_code, early.json()["error"], late.status_code, left) == (429, "rate_limited", 200, 0)


@pytest.mark.parametrize(("failures", "seconds"), [(5, 15), (6, 45), (9, 900), (500, 900)])
async def test_each_failure_makes_the_wait_longer_up_to_a_quarter_of_an_hour(
    world: GatewayWorld, failures: int, seconds: int
) -> None:
    await world.customer.post(SIGN_IN, json={"email": "ann@example.org", "password": "wrong password"})
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("UPDATE sign_in_failures SET failures = :n"), {"n": failures})

    answers = [
        await world.customer.post(SIGN_IN, json={"email": "ann@example.org", "password": "wrong password"})
        for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [401, 429]
    assert seconds - 2 <= int(answers[1].headers["retry-after"]) <= seconds


async def test_tries_at_the_same_time_are_counted_one_by_one(world: GatewayWorld) -> None:
    await world.user()

    answers = await asyncio.gather(
        *(
            world.customer.post(SIGN_IN, json={"email": "ann@example.org", "password": f"wrong password {n}"})
            for n in range(9)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 4


async def test_both_results_of_a_sign_in_are_audited_without_the_address(world: GatewayWorld) -> None:
    user_id = await world.user()
    await world.customer.post(SIGN_IN, json={"email": "nobody@example.org", "password": "wrong password"})
    await world.sign_in(world.customer, "ANN@example.org")

    [failed], [succeeded] = [await world.audited(f"password.login_{result}") for result in ("failed", "success")]

    assert (failed.user_id, failed.route, succeeded.user_id) == (None, SIGN_IN, user_id)
    assert failed.email_hash != succeeded.email_hash
    assert "example.org" not in f"{failed.email_hash} {failed.details} {succeeded.details}"


async def test_sign_in_can_say_where_to_go_on(world: GatewayWorld) -> None:
    await world.user()

    response = await world.sign_in(world.customer, callbackURL="/sessions?x=1")

    assert (response.json()["redirect"], response.json()["url"]) == (True, "/sessions?x=1")
    assert response.headers["location"] == "/sessions?x=1"


@pytest.mark.parametrize("callback", ["https://evil.test", "//evil.test", "/\\evil.test", "/\t/evil.test", "x", ""])
async def test_sign_in_never_leads_to_another_site(world: GatewayWorld, callback: str) -> None:
    await world.user()

    response = await world.sign_in(world.customer, callbackURL=callback)

    assert (response.status_code, response.json()["error"]) == (403, "invalid_callback_url")
    assert "set-cookie" not in response.headers


async def test_the_ways_to_sign_in_are_only_those_that_work(world: GatewayWorld) -> None:
    before = (await world.customer.get("/api/auth/login-methods")).json()
    await world.user()
    after = (await world.customer.get("/api/auth/login-methods")).json()
    operators = (await world.admin.get("/api/auth/login-methods")).json()

    assert (before["methods"], after["methods"]) == (["magic_link", "scan"], ["magic_link", "scan", "password"])
    assert (operators["methods"], operators["mode"], operators["forgotPasswordEnabled"]) == (
        ["password"],
        "password",
        True,
    )
