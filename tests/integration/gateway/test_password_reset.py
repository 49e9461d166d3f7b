"""An operator forgets their password."""

import asyncio

import httpx
import pytest
from sqlalchemy import text
from tests.support.gateway import ADMIN_URL, PASSWORD, GatewayWorld
from tests.support.mail import Mailbox

from gateway.app import create_app
from gateway.settings import GatewaySettings
from polaris_common.models import Role

FORGOT, RESET = "/api/admin/forgot-password", "/api/admin/reset-password"
NEW = "a new and better password"


async def _forgot(world: GatewayWorld, email: str = "op@example.org") -> httpx.Response:
    return await world.admin.post(FORGOT, json={"email": email}, headers={"origin": ADMIN_URL})


async def _reset(world: GatewayWorld, token: str, password: str = NEW) -> httpx.Response:
    return await world.admin.post(RESET, json={"token": token, "newPassword": password}, headers={"origin": ADMIN_URL})


async def _sign_in(world: GatewayWorld, password: str) -> int:
    body = {"email": "op@example.org", "password": password}
    headers = {"origin": ADMIN_URL}
    return (await world.admin.post("/api/auth/sign-in/email", json=body, headers=headers)).status_code


async def test_an_operator_sets_a_new_password_and_is_signed_out_everywhere(
    world: GatewayWorld, mailbox: Mailbox
) -> None:
    user_id = await world.operator()
    asked = await _forgot(world, "OP@example.org")
    mail = (await mailbox.mails())[-1]

    done = await _reset(world, await mailbox.token())

    assert (asked.json(), done.json()) == ({"status": "ok"}, {"redirectTo": "/login"})
    assert (mail.category, mail.to, (await mailbox.link()).split("?")[0]) == (
        "admin-password-reset",
        "op@example.org",
        f"{ADMIN_URL}/reset-password",
    )
    assert (await world.admin.get("/api/auth/get-session")).json() is None
    assert (await _sign_in(world, PASSWORD), await _sign_in(world, NEW)) == (401, 200)
    assert [row.user_id for row in await world.audited("password.reset_completed")] == [user_id]


async def test_a_reset_works_once_also_at_the_same_time_and_ends_every_other_link(
    world: GatewayWorld, mailbox: Mailbox
) -> None:
    await world.user(Role.ADMIN, email="op@example.org")
    await _forgot(world)
    older = await mailbox.token()
    await _forgot(world)
    token = await mailbox.token()

    answers = await asyncio.gather(*(_reset(world, token) for _ in range(3)))
    stale = [await _reset(world, each) for each in (token, older)]

    assert sorted(answer.status_code for answer in answers) == [200, 400, 400]
    assert [answer.json()["error"] for answer in stale] == ["invalid_token"] * 2


async def test_only_operators_get_mail_and_everybody_the_same_answer(world: GatewayWorld, mailbox: Mailbox) -> None:
    await world.user(email="ann@example.org")

    answers = [await _forgot(world, email) for email in ("ann@example.org", "nobody@example.org")]

    assert {answer.text for answer in answers} == {'{"status":"ok"}'}
    assert await mailbox.mails() == []
    assert len(await world.audited("password.reset_attempted_for_non_admin")) == 1
    assert len(await world.audited("password.reset_requested")) == 2


@pytest.mark.parametrize(
    "change", ["UPDATE one_time_tokens SET expires_at = now()", "UPDATE users SET role = 'customer'"]
)
async def test_a_link_that_is_too_old_or_no_longer_an_operators_sets_nothing(
    world: GatewayWorld, mailbox: Mailbox, change: str
) -> None:
    await world.user(Role.ADMIN, email="op@example.org")
    await _forgot(world)
    token = await mailbox.token()
    async with world.database.unit_of_work() as uow:
        await uow.execute(text(change))

    answer = await _reset(world, token)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_token")
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("UPDATE users SET role = 'admin'"))
    assert await _sign_in(world, PASSWORD) == 200


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{", "invalid_json"),
        ('{"newPassword": "long enough password"}', "token_required"),
        ('{"token": "", "newPassword": "long enough password"}', "token_required"),
        ('{"token": "x", "newPassword": "elevenchars"}', "password_must_be_12_to_256_chars"),
        ('{"token": "x"}', "password_must_be_12_to_256_chars"),
        ('{"token": "x", "newPassword": "long enough password"}', "invalid_token"),
    ],
)
async def test_what_cannot_be_used_is_refused_as_the_contract_says(world: GatewayWorld, body: str, error: str) -> None:
    response = await world.admin.post(RESET, content=body, headers={"content-type": "application/json"})

    assert (response.status_code, response.json()["error"]) == (400, error)


async def test_too_long_a_password_is_refused(world: GatewayWorld) -> None:
    response = await _reset(world, "x", "x" * 257)

    assert response.json()["error"] == "password_must_be_12_to_256_chars"


async def test_a_new_password_ends_the_wait_after_wrong_ones(world: GatewayWorld, mailbox: Mailbox) -> None:
    await world.user(Role.ADMIN, email="op@example.org")
    for _ in range(5):
        await _sign_in(world, "wrong password")
    waiting = await _sign_in(world, PASSWORD)
    await _forgot(world)

    await _reset(world, await mailbox.token())

    assert (waiting, await _sign_in(world, NEW)) == (429, 200)


@pytest.mark.parametrize(
    "change",
    [
        {"cf_email_worker_url": None},
        {"admin_oidc_issuer": "http://127.0.0.1:1", "admin_oidc_client_id": "polaris"},
    ],
)
async def test_where_no_password_can_be_reset_asking_says_so_before_anything_else(
    settings: GatewaySettings, world: GatewayWorld, change: dict[str, str | None]
) -> None:
    app = create_app(settings.model_copy(update=change))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ADMIN_URL) as http,
    ):
        answer = await http.post(FORGOT, content="{")

    assert (answer.status_code, answer.json()["error"]) == (503, "feature_disabled")
    assert answer.json()["reason"]


async def test_resets_are_for_the_operators_host(world: GatewayWorld) -> None:
    answers = [await world.customer.post(path, json={}) for path in (FORGOT, RESET)]

    assert [answer.status_code for answer in answers] == [404, 404]
