"""Signing in by a mailed link, from asking for it to the session."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import text
from tests.support.gateway import CUSTOMER_URL, GatewayWorld
from tests.support.mail import Mailbox

from gateway.app import create_app
from gateway.settings import GatewaySettings
from polaris_common.models import Role

PREFLIGHT = "/api/auth/magic-link/preflight"
VERIFY = "/auth/verify"
COOKIE = "__Secure-polaris.session"


async def _ask(world: GatewayWorld, email: str = "ann@example.org") -> httpx.Response:
    return await world.customer.post(PREFLIGHT, json={"email": email})


async def _click(world: GatewayWorld, token: str, **more: str) -> httpx.Response:
    form = {"token": token, **more}
    return await world.customer.post(VERIFY, data=form, headers={"origin": CUSTOMER_URL})


async def test_a_driver_asks_opens_the_mail_clicks_and_is_signed_in(world: GatewayWorld, mailbox: Mailbox) -> None:
    user_id = await world.user(password=False)

    asked = await _ask(world, " ANN@example.org ")
    link = await mailbox.link()
    page = await world.customer.get(link)
    done = await _click(world, parse_qs(urlsplit(link).query)["token"][0])

    who = (await world.customer.get("/api/auth/get-session")).json()
    assert asked.json() == {"status": "ok"}
    assert link.startswith(f"{CUSTOMER_URL}/auth/verify?token=")
    assert (page.status_code, "a…@example.org" in page.text) == (200, True)
    assert (done.status_code, done.headers["location"]) == (302, "/")
    assert (who["user"]["id"], who["user"]["emailVerified"]) == (str(user_id), True)
    assert [row.user_id for row in await world.audited("magic_link.consumed")] == [user_id]


async def test_looking_at_a_link_however_often_uses_nothing_up(world: GatewayWorld, mailbox: Mailbox) -> None:
    await world.user()
    await _ask(world)
    link = await mailbox.link()
    token = parse_qs(urlsplit(link).query)["token"][0]

    old = await world.customer.get(f"/api/auth/magic-link/verify?token={token}&callbackURL=%2Fx")
    pages = [await world.customer.get(path) for path in (link, link, f"/m/{token}", old.headers["location"])]
    await world.customer.head(link)

    assert old.headers["location"] == f"/auth/verify?token={token}&callbackURL=%2Fx"
    assert all("<form" in page.text for page in pages)
    assert COOKIE not in world.customer.cookies
    assert (await _click(world, token)).headers["location"] == "/"


async def test_a_link_works_once_also_when_it_is_used_twice_at_the_same_time(
    world: GatewayWorld, mailbox: Mailbox
) -> None:
    await world.user()
    await _ask(world)
    token = await mailbox.token()

    answers = await asyncio.gather(*(_click(world, token) for _ in range(4)))
    again = await _click(world, token)

    places = sorted(answer.headers["location"] for answer in answers)
    assert places == ["/"] + ["/auth/verify?error=invalid_or_expired"] * 3
    assert again.headers["location"] == "/auth/verify?error=invalid_or_expired"
    async with world.database.unit_of_work() as uow:
        assert await uow.session.scalar(text("SELECT count(*) FROM auth_sessions")) == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE one_time_tokens SET expires_at = now()",
        "UPDATE users SET role = 'admin'",
        "UPDATE users SET email = 'other@example.org'",
        "DELETE FROM users",
    ],
)
async def test_a_link_that_is_too_old_or_no_longer_a_drivers_makes_no_session(
    world: GatewayWorld, mailbox: Mailbox, change: str
) -> None:
    await world.user(password=False)
    await _ask(world)
    token = await mailbox.token()
    async with world.database.unit_of_work() as uow:
        await uow.execute(text(change))

    page = await world.customer.get(f"{VERIFY}?token={token}")
    done = await _click(world, token)

    assert "<form" not in page.text
    assert (done.headers["location"], "set-cookie" in done.headers) == ("/auth/verify?error=invalid_or_expired", False)
    async with world.database.unit_of_work() as uow:
        assert await uow.session.scalar(text("SELECT count(*) FROM auth_sessions")) == 0
    assert await world.audited("magic_link.consumed") == []


async def test_only_drivers_get_mail_and_the_answer_is_the_same_for_everybody(
    world: GatewayWorld, mailbox: Mailbox
) -> None:
    await world.user(Role.ADMIN, email="op@example.org")
    await world.user(email="ann@example.org")

    answers = [await _ask(world, email) for email in ("op@example.org", "nobody@example.org", "ann@example.org")]

    assert {answer.text for answer in answers} == {'{"status":"ok"}'}
    assert [mail.to for mail in await mailbox.mails()] == ["ann@example.org"]
    assert len(await world.audited("magic_link.attempted_at_wrong_surface")) == 1
    async with world.database.unit_of_work() as uow:
        assert await uow.session.scalar(text("SELECT count(*) FROM one_time_tokens")) == 1


async def test_no_table_holds_a_token_that_works(world: GatewayWorld, mailbox: Mailbox) -> None:
    await world.user()
    await _ask(world)
    async with world.database.unit_of_work() as uow:
        waiting = await uow.session.scalar(text("SELECT context::text FROM outgoing_mails"))

    token = await mailbox.token()

    async with world.database.unit_of_work() as uow:
        rows = [
            str(row)
            for table in ("outgoing_mails", "one_time_tokens", "auth_audit")
            for row in await uow.execute(text(f"SELECT t::text FROM {table} t"))  # noqa: S608
        ]
        context = await uow.session.scalar(text("SELECT context::text FROM outgoing_mails WHERE sent_at IS NOT NULL"))
    assert (token in str(waiting), any(token in row for row in rows), context) == (False, False, "{}")


async def test_the_other_way_to_ask_is_the_same_gate(world: GatewayWorld, mailbox: Mailbox) -> None:
    await world.user()
    path = "/api/auth/sign-in/magic-link"

    unknown = await world.customer.post(path, json={"email": "nobody@example.org", "callbackURL": "/cards"})
    known = await world.customer.post(path, json={"email": "ann@example.org", "callbackURL": "/cards"})
    elsewhere = await world.customer.post(path, json={"email": "ann@example.org", "callbackURL": "https://evil.test"})

    link = parse_qs(urlsplit(await mailbox.link()).query)
    done = await _click(world, link["token"][0], callbackURL=link["callbackURL"][0])
    assert (unknown.json(), known.json(), len(mailbox.simulator.mails)) == ({"status": True}, {"status": True}, 1)
    assert (elsewhere.status_code, elsewhere.json()["error"]) == (403, "invalid_callback_url")
    assert done.headers["location"] == "/cards"


@pytest.mark.parametrize("callback", ["https://evil.test/", "//evil.test", "/\\evil.test", "/\r\nset-cookie: a=b", ""])
async def test_a_link_never_leads_to_another_site(world: GatewayWorld, mailbox: Mailbox, callback: str) -> None:
    await world.user()
    await _ask(world)

    done = await _click(world, await mailbox.token(), callbackURL=callback)

    assert (done.status_code, done.headers["location"]) == (302, "/")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{", "invalid_json"),
        ("{}", "email_required"),
        ('{"email": 1}', "email_required"),
        ('{"email": "ann"}', "invalid_email"),
        ('{"email": "a b@example.org"}', "invalid_email"),
    ],
)
async def test_what_is_no_address_is_refused_as_the_contract_says(world: GatewayWorld, body: str, error: str) -> None:
    response = await world.customer.post(PREFLIGHT, content=body, headers={"content-type": "application/json"})

    assert (response.status_code, response.json()["error"]) == (400, error)


async def test_without_a_worker_asking_says_so_before_anything_else(
    settings: GatewaySettings, world: GatewayWorld
) -> None:
    silent = settings.model_copy(update={"cf_email_worker_url": None, "cf_email_worker_secret": None})
    app = create_app(silent)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=CUSTOMER_URL) as http,
    ):
        answers = [await http.post(PREFLIGHT, content=body) for body in ('{"email": "ann@example.org"}', "{")]
        methods = (await http.get("/api/auth/login-methods")).json()["methods"]

    body = answers[0].json()
    assert [answer.status_code for answer in answers] == [503, 503]
    assert (body["error"], body["retry"], "magic_link" in methods) == ("Email worker is not configured", False, False)


async def test_links_are_for_the_drivers_host(world: GatewayWorld, mailbox: Mailbox) -> None:
    await world.user()
    await _ask(world)
    token = await mailbox.token()

    answers = [await world.admin.get(f"{VERIFY}?token={token}"), await world.admin.post(VERIFY, data={"token": token})]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert (await _click(world, token)).headers["location"] == "/"


async def test_a_strange_page_cannot_use_a_link_for_its_visitor(world: GatewayWorld, mailbox: Mailbox) -> None:
    await world.user()
    await _ask(world)

    answer = await world.customer.post(
        VERIFY, data={"token": await mailbox.token()}, headers={"origin": "https://evil.test"}
    )

    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


async def test_the_page_sends_its_form_to_us_alone_and_tells_nobody_its_address(
    world: GatewayWorld, mailbox: Mailbox
) -> None:
    await world.user()
    await _ask(world)

    page = await world.customer.get(await mailbox.link())

    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"
