"""Several people in one browser, one person on several devices, and how sessions end or go on."""

import httpx
import pytest
from sqlalchemy import text
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, GatewayWorld

from polaris_common.models import Role

COOKIE, BROWSER = "__Secure-polaris.session", "__Secure-polaris.browser"
LIST = "/api/auth/multi-session/list-device-sessions"
SET_ACTIVE = "/api/auth/multi-session/set-active"
REVOKE = "/api/auth/multi-session/revoke"
ORIGIN = {"origin": CUSTOMER_URL}


async def _change(world: GatewayWorld, sql: str, **values: str) -> None:
    async with world.database.unit_of_work() as uow:
        await uow.execute(text(sql), values)


async def _count(world: GatewayWorld) -> int:
    async with world.database.unit_of_work() as uow:
        return int(await uow.session.scalar(text("SELECT count(*) FROM auth_sessions")) or 0)


async def _who(browser: httpx.AsyncClient, *, cookie: str | None = None) -> str | None:
    headers = {} if cookie is None else {"cookie": f"{COOKIE}={cookie}"}
    if cookie is not None:
        browser = httpx.AsyncClient(transport=browser._transport, base_url=browser.base_url)
    answer = (await browser.get("/api/auth/get-session", headers=headers)).json()
    return str(answer["user"]["email"]) if answer else None


async def _both(world: GatewayWorld) -> list[dict[str, str]]:
    for email in ("ann@example.org", "bob@example.org"):
        await world.driver(email)
    found = (await world.customer.get(LIST)).json()
    return [each["session"] for each in found]


async def test_two_people_share_a_browser_and_take_turns(world: GatewayWorld) -> None:
    ann, bob = await _both(world)
    before = (await _who(world.customer), world.customer.cookies[COOKIE])

    switched = await world.customer.post(SET_ACTIVE, json={"sessionToken": ann["token"]}, headers=ORIGIN)

    listed = (await world.customer.get(LIST)).json()
    assert (before[0], switched.json()["user"]["email"]) == ("bob@example.org", "ann@example.org")
    assert await _who(world.customer) == "ann@example.org"
    assert [(each["user"]["email"], each["active"]) for each in listed] == [
        ("ann@example.org", True),
        ("bob@example.org", False),
    ]
    assert bob["token"] not in (before[1], world.customer.cookies[COOKIE])


async def test_a_stolen_cookie_is_worthless_after_switching_and_after_signing_in_again(world: GatewayWorld) -> None:
    await world.driver("ann@example.org")
    anns = world.customer.cookies[COOKIE]
    await world.driver("bob@example.org")
    bobs = world.customer.cookies[COOKIE]
    after_second = await _who(world.customer, cookie=anns)
    ann = (await world.customer.get(LIST)).json()[0]["session"]["token"]
    await world.customer.post(SET_ACTIVE, json={"sessionToken": ann}, headers=ORIGIN)

    assert (after_second, await _who(world.customer, cookie=bobs), await _who(world.customer, cookie=anns)) == (
        None,
        None,
        None,
    )


async def test_a_stolen_cookie_is_worthless_after_signing_out(world: GatewayWorld) -> None:
    await _both(world)
    token, browser = world.customer.cookies[COOKIE], world.customer.cookies[BROWSER]

    await world.customer.post("/api/auth/sign-out", headers=ORIGIN)

    stolen = await world.steve.get(LIST, headers={"host": "polaris.test", "cookie": f"{BROWSER}={browser}"})
    assert (await _who(world.customer, cookie=token), stolen.json(), await _count(world)) == (None, [], 0)
    assert not {COOKIE, BROWSER} & set(world.customer.cookies)


async def test_a_name_planted_in_a_browser_does_not_open_what_is_signed_in_there_later(world: GatewayWorld) -> None:
    await world.user()
    planted = "planted-by-somebody-who-waits"
    world.customer.cookies.set(BROWSER, planted, domain=".polaris.test")

    await world.sign_in(world.customer, "ann@example.org")

    thief = {"host": "polaris.test", "cookie": f"{BROWSER}={planted}"}
    assert (await world.steve.get(LIST, headers=thief)).json() == []


async def test_a_sessions_name_works_in_its_own_browser_alone(world: GatewayWorld) -> None:
    ann, _ = await _both(world)
    await world.user(Role.ADMIN, email="op@example.org")
    await world.sign_in(world.admin, "op@example.org")

    answers = [
        await world.admin.post(path, json={"sessionToken": name}, headers={"origin": ADMIN_URL})
        for path in (SET_ACTIVE, REVOKE)
        for name in (ann["token"], "nonsense")
    ]

    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(401, "invalid_session_token")] * 4
    assert await _who(world.customer) == "bob@example.org"


async def test_when_the_active_one_leaves_the_next_goes_on(world: GatewayWorld) -> None:
    _, bob = await _both(world)

    await world.customer.post(REVOKE, json={"sessionToken": bob["token"]}, headers=ORIGIN)
    then = await _who(world.customer)
    left = (await world.customer.get(LIST)).json()[0]["session"]["token"]
    await world.customer.post(REVOKE, json={"sessionToken": left}, headers=ORIGIN)

    assert (then, await _who(world.customer), COOKIE in world.customer.cookies) == ("ann@example.org", None, False)
    assert len(await world.audited("session.revoked")) == 2


async def test_one_person_has_one_session_in_a_browser_and_five_people_have_room(world: GatewayWorld) -> None:
    for number in range(6):
        await world.driver(f"driver-{number}@example.org")
    await world.sign_in(world.customer, "driver-5@example.org")

    listed = [each["user"]["email"] for each in (await world.customer.get(LIST)).json()]

    assert listed == [f"driver-{number}@example.org" for number in range(1, 6)]
    assert await _count(world) == 5


async def test_people_see_where_they_are_signed_in_and_end_it(world: GatewayWorld) -> None:
    await world.driver()
    phone = httpx.AsyncClient(transport=world.customer._transport, base_url=CUSTOMER_URL)
    await world.sign_in(phone)
    found = (await world.customer.get("/api/auth/list-sessions")).json()
    other = next(each["id"] for each in found if not each["current"])

    ended = await world.customer.post("/api/auth/revoke-session", json={"token": other}, headers=ORIGIN)

    assert (len(found), ended.json()) == (2, {"status": True})
    assert (await _who(phone), await _who(world.customer)) == (None, "ann@example.org")


@pytest.mark.parametrize(("path", "left"), [("revoke-other-sessions", 1), ("revoke-sessions", 0)])
async def test_all_sessions_end_with_one_call(world: GatewayWorld, path: str, left: int) -> None:
    await world.driver()
    for _ in range(2):
        await world.sign_in(httpx.AsyncClient(transport=world.customer._transport, base_url=CUSTOMER_URL))

    answer = await world.customer.post(f"/api/auth/{path}", headers=ORIGIN)

    assert (answer.status_code, await _count(world)) == (200, left)


async def test_nobody_ends_a_strangers_session(world: GatewayWorld) -> None:
    await world.user(Role.ADMIN, email="op@example.org")
    await world.sign_in(world.admin, "op@example.org")
    strangers = (await world.admin.get("/api/auth/get-session")).json()["session"]["id"]
    await world.driver()

    answer = await world.customer.post("/api/auth/revoke-session", json={"token": strangers}, headers=ORIGIN)

    assert (answer.status_code, await _count(world)) == (401, 2)


async def test_an_operators_session_that_is_used_starts_its_week_again_and_so_does_the_cookie(
    world: GatewayWorld,
) -> None:
    await world.operator()
    await _change(
        world,
        "UPDATE auth_sessions SET expires_at = now() + interval '3 days', last_seen_at = now() - interval '1 hour'",
    )

    first = await world.admin.get("/api/auth/login-methods")
    renewed = await world.admin.get("/api/admin/user")
    again = await world.admin.get("/api/admin/user")

    cookies = renewed.headers.get_list("set-cookie")
    async with world.database.unit_of_work() as uow:
        days = await uow.session.scalar(
            text("SELECT extract(epoch FROM expires_at - now()) / 86400 FROM auth_sessions")
        )
    assert [cookie.partition("=")[0] for cookie in cookies] == [COOKIE, BROWSER]
    assert all("Max-Age=604800" in cookie and "HttpOnly" in cookie for cookie in cookies)
    assert ("set-cookie" in first.headers, "set-cookie" in again.headers, 6.9 < float(days or 0) <= 7) == (
        False,
        False,
        True,
    )


async def test_a_session_that_the_browser_forgets_is_not_prolonged(world: GatewayWorld) -> None:
    await world.user(Role.ADMIN)
    await world.sign_in(world.admin, rememberMe=False)
    await _change(world, "UPDATE auth_sessions SET last_seen_at = now() - interval '1 hour'")

    answer = await world.admin.get("/api/admin/user")

    async with world.database.unit_of_work() as uow:
        hours = await uow.session.scalar(
            text("SELECT extract(epoch FROM expires_at - now()) / 3600 FROM auth_sessions")
        )
    assert ("set-cookie" in answer.headers, float(hours or 0) <= 24) == (False, True)


@pytest.mark.parametrize("path", ["/api/auth/get-session", "/api/customer/sessions", LIST])
async def test_a_drivers_session_ends_eight_hours_after_sign_in_whatever_asks(world: GatewayWorld, path: str) -> None:
    user_id = await world.driver()
    await _change(
        world,
        "UPDATE auth_sessions SET created_at = now() - interval '8 hours', expires_at = now() + interval '5 days'",
    )

    answer = await world.customer.get(path)

    assert (answer.status_code, answer.json()) in [(200, None), (200, [])] or answer.status_code == 401
    assert await _count(world) == 0
    assert [row.user_id for row in await world.audited("session.expired_customer_ttl")] == [user_id]


async def test_the_driver_s_ceiling_is_not_for_switching_back(world: GatewayWorld) -> None:
    ann, _ = await _both(world)
    await _change(
        world,
        "UPDATE auth_sessions SET created_at = now() - interval '9 hours', expires_at = now() + interval '5 days'"
        " WHERE id = CAST(:id AS uuid)",
        id=ann["id"],
    )

    answer = await world.customer.post(SET_ACTIVE, json={"sessionToken": ann["token"]}, headers=ORIGIN)

    assert answer.status_code == 401
