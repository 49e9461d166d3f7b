"""Signing in and out, and who is signed in."""

from http.cookies import Morsel, SimpleCookie

import httpx
import pytest
from sqlalchemy import func, select, text
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, PASSWORD, GatewayWorld

from polaris_common.models import AuthSession, Role

SIGN_IN = "/api/auth/sign-in/email"
COOKIE = "__Secure-polaris.session"


def _cookie(response: httpx.Response) -> "Morsel[str]":
    return SimpleCookie(response.headers["set-cookie"])[COOKIE]


async def test_a_driver_signs_in_and_the_token_is_in_a_guarded_cookie_only(world: GatewayWorld) -> None:
    user_id = await world.user()

    response = await world.sign_in(world.customer, "ANN@example.org")

    cookie = _cookie(response)
    assert response.json() == {
        "redirect": False,
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
        b'{"email": "a@b\\u0000", "password": "x"}',
        b'{"email": "a@\\ud800", "password": "x"}',
        b'{"email": "a@b", "password": "\\ud800"}',
        b'{"email": {"$ne": 1}, "password": ["x"]}',
        b"[" * 10_000,
    ],
)
async def test_a_body_that_is_no_sign_in_is_refused_not_a_crash(world: GatewayWorld, body: bytes) -> None:
    response = await world.customer.post(SIGN_IN, content=body, headers={"content-type": "application/json"})

    assert (response.status_code, response.json()["error"]) == (422, "invalid_request")


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

    assert set(answer["session"]) == {"id", "userId", "expiresAt"}
    assert set(answer["user"]) == {"id", "name", "email", "role", "publicId"}
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
