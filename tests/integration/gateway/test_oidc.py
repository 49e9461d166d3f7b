"""Operators sign in with an identity provider that runs beside the test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey
from sqlalchemy import func, select, text
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, PASSWORD, GatewayWorld
from tests.support.oidc_issuer import CLIENT_ID, CLIENT_SECRET, Issuer, running_issuer

from gateway.app import create_app
from polaris_common.models import AuthSession, Role, User

START, CALLBACK = "/api/auth/sign-in/oauth2", "/api/auth/oauth2/callback/pocket-id"
SESSION = "__Secure-polaris.session"
GROUP = "charging-operators"


@dataclass
class Organization:
    """A gateway that trusts an identity provider, and browsers on it."""

    world: GatewayWorld
    issuer: Issuer
    app: Any

    def browser(self, url: str = ADMIN_URL) -> httpx.AsyncClient:
        """A fresh browser."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=url)

    async def to_provider(self, browser: httpx.AsyncClient, **body: str) -> str:
        """Begin in ``browser``; where the provider sends it back to."""
        begun = await browser.post(START, json={"providerId": "pocket-id", **body}, headers={"origin": ADMIN_URL})
        async with httpx.AsyncClient() as outside:
            return (await outside.get(begun.json()["url"])).headers["location"]

    async def sign_in(self, browser: httpx.AsyncClient | None = None, **body: str) -> httpx.Response:
        """There and back."""
        browser = browser or self.browser()
        return await browser.get(await self.to_provider(browser, **body))

    async def sessions(self) -> int:
        """How many sessions there are."""
        async with self.world.database.unit_of_work() as uow:
            return int(await uow.session.scalar(select(func.count()).select_from(AuthSession)) or 0)


@asynccontextmanager
async def _organization(world: GatewayWorld, **change: Any) -> AsyncIterator[Organization]:
    async with running_issuer() as issuer:
        issuer.claims = {
            "sub": "subject-1",
            "email": "Op@example.org",
            "email_verified": True,
            "name": "Olga",
            "groups": [GROUP],
        }
        settings = type(world.settings)(
            ADMIN_OIDC_ISSUER=issuer.url,
            ADMIN_OIDC_CLIENT_ID=CLIENT_ID,
            ADMIN_OIDC_CLIENT_SECRET=CLIENT_SECRET,
            **change,
        )
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            yield Organization(world, issuer, app)


@pytest.fixture
async def org(world: GatewayWorld) -> AsyncIterator[Organization]:
    """Members of a group become operators."""
    async with _organization(world, ADMIN_OIDC_ADMIN_GROUP=GROUP) as made:
        yield made


@pytest.fixture
async def closed(world: GatewayWorld) -> AsyncIterator[Organization]:
    """No group: only operators that exist sign in."""
    async with _organization(world) as made:
        yield made


def _error(response: httpx.Response) -> str:
    place = urlsplit(response.headers["location"])
    assert (response.status_code, place.path) == (302, "/api/auth/error")
    assert SESSION not in str(response.headers.get_list("set-cookie"))
    return parse_qs(place.query)["error"][0]


async def test_a_member_of_the_group_becomes_an_operator_and_returns_to_where_they_were(org: Organization) -> None:
    browser = org.browser()

    done = await org.sign_in(browser, callbackURL="/chargers/CP-1?tab=log")

    who = (await browser.get("/api/auth/get-session")).json()["user"]
    assert (done.status_code, done.headers["location"]) == (302, "/chargers/CP-1?tab=log")
    assert (who["role"], who["superadmin"], who["email"], who["emailVerified"]) == (
        "admin",
        False,
        "Op@example.org",
        True,
    )
    assert len(await org.world.audited("oidc.login_success")) == 1


async def test_the_provider_is_asked_as_the_contract_says(org: Organization) -> None:
    await org.sign_in()

    [asked] = org.issuer.asked
    assert asked | {"state": "", "nonce": "", "code_challenge": ""} == {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "scope": "openid profile email groups",
        "redirect_uri": f"{ADMIN_URL}{CALLBACK}",
        "prompt": "login",
        "code_challenge_method": "S256",
        "state": "",
        "nonce": "",
        "code_challenge": "",
    }
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43


async def test_the_same_person_is_known_by_subject_when_their_address_changes(org: Organization) -> None:
    await org.sign_in()
    org.issuer.claims |= {"email": "new@example.org"}

    await org.sign_in()

    async with org.world.database.unit_of_work() as uow:
        assert await uow.session.scalar(select(func.count()).select_from(User)) == 1


@pytest.mark.parametrize("groups", [None, [], ["others"], "others", {GROUP: True}, [[GROUP]]])
async def test_who_is_not_in_the_group_is_refused_and_loses_what_they_had(org: Organization, groups: Any) -> None:
    await org.sign_in()
    org.issuer.claims |= {"groups": groups}

    refused = _error(await org.sign_in())

    assert (refused, await org.sessions()) == ("not_a_member", 0)


async def test_groups_may_come_from_the_userinfo_endpoint(org: Organization) -> None:
    org.issuer.claims = {name: value for name, value in org.issuer.claims.items() if name != "groups"}
    org.issuer.userinfo = {"groups": [GROUP]}

    assert (await org.sign_in()).headers["location"] == "/"


async def test_userinfo_about_somebody_else_is_refused(org: Organization) -> None:
    org.issuer.userinfo = {"sub": "somebody-else", "groups": [GROUP]}

    assert _error(await org.sign_in()) == "user_info_is_missing"


async def test_without_a_group_nobody_becomes_an_operator(closed: Organization) -> None:
    assert _error(await closed.sign_in()) == "account_not_linked"
    assert await closed.sessions() == 0


async def test_without_a_group_an_operator_that_exists_signs_in_by_their_verified_address(closed: Organization) -> None:
    user_id = await closed.world.user(Role.ADMIN, email="op@EXAMPLE.org", superadmin=True)
    browser = closed.browser()

    await closed.sign_in(browser)

    who = (await browser.get("/api/auth/get-session")).json()["user"]
    assert (who["id"], who["superadmin"]) == (str(user_id), True)


@pytest.mark.parametrize("verified", [False, None, "true", 1])
async def test_an_address_that_is_not_verified_links_nothing(closed: Organization, verified: Any) -> None:
    await closed.world.user(Role.ADMIN, email="op@example.org")
    closed.issuer.claims |= {"email_verified": verified}

    assert _error(await closed.sign_in()) == "account_not_linked"


async def test_a_driver_with_the_same_address_is_told_so_and_stays_a_driver(org: Organization) -> None:
    await org.world.user(email="op@example.org")

    refused = await org.sign_in()
    page = await org.browser().get(refused.headers["location"])

    assert (_error(refused), "driver" in page.text) == ("role_mismatch", True)
    async with org.world.database.unit_of_work() as uow:
        assert await uow.session.scalar(select(User.role)) == "customer"


async def test_a_callback_works_once(org: Organization) -> None:
    browser = org.browser()
    back = await org.to_provider(browser)
    cookies = dict(browser.cookies)

    answers = await asyncio.gather(*(browser.get(back, headers=_cookie_header(cookies)) for _ in range(3)))

    places = sorted(answer.headers["location"] for answer in answers)
    assert places == ["/", *["/api/auth/error?error=state_mismatch"] * 2]
    assert await org.sessions() == 1


def _cookie_header(cookies: dict[str, str]) -> dict[str, str]:
    return {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


async def test_another_browser_cannot_finish_what_this_one_began(org: Organization) -> None:
    back = await org.to_provider(org.browser())
    victim = org.browser()
    await org.to_provider(victim)

    refused = [_error(await browser.get(back)) for browser in (org.browser(), victim)]

    assert (refused, await org.sessions()) == (["state_mismatch"] * 2, 0)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"state": "forged"}, "state_mismatch"),
        ({"state": None}, "state_mismatch"),
        ({"code": None}, "oAuth_code_missing"),
        ({"code": "forged"}, "oauth_code_verification_failed"),
        ({"iss": "https://evil.test"}, "issuer_mismatch"),
        ({"iss": None}, "issuer_mismatch"),
        ({"error": "access_denied"}, "access_denied"),
        ({"error": "<script>"}, "provider_error"),
    ],
)
async def test_a_callback_that_is_not_what_was_asked_for_is_refused(
    org: Organization, query: dict[str, str | None], error: str
) -> None:
    browser = org.browser()
    given = {name: values[0] for name, values in parse_qs(urlsplit(await org.to_provider(browser)).query).items()}

    changed = {name: value for name, value in (given | query).items() if value is not None}
    refused = _error(await browser.get(CALLBACK, params=changed))

    assert (refused, await org.sessions()) == (error, 0)
    assert [row.details for row in await org.world.audited("oidc.login_failed")] == [{"reason": error}]


async def test_a_sign_in_that_took_too_long_begins_again(org: Organization) -> None:
    browser = org.browser()
    back = await org.to_provider(browser)
    async with org.world.database.unit_of_work() as uow:
        await uow.execute(text("UPDATE one_time_tokens SET expires_at = now()"))

    assert _error(await browser.get(back)) == "state_mismatch"


@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": "of-another-sign-in"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": [CLIENT_ID, "another-client"], "azp": "another-client"},
        {"iss": "https://evil.test"},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"sub": ""},
    ],
)
async def test_an_id_token_that_is_not_for_this_sign_in_is_refused(org: Organization, wrong: dict[str, Any]) -> None:
    org.issuer.wrong = wrong

    assert _error(await org.sign_in()) in ("oauth_code_verification_failed", "user_info_is_missing")
    assert await org.sessions() == 0


async def test_an_id_token_signed_by_somebody_else_is_refused(org: Organization) -> None:
    org.issuer.signing_key = RSAKey.generate_key(2048, {"kid": "one"})

    assert _error(await org.sign_in()) == "oauth_code_verification_failed"


async def test_new_keys_of_the_provider_are_found(org: Organization) -> None:
    await org.sign_in()
    org.issuer.key = RSAKey.generate_key(2048, {"kid": "two"})

    assert (await org.sign_in()).headers["location"] == "/"


async def test_a_page_of_ours_may_explain_what_went_wrong(org: Organization) -> None:
    org.issuer.claims |= {"groups": []}

    refused = await org.sign_in(errorCallbackURL="/login?mode=oidc")

    assert refused.headers["location"] == "/login?mode=oidc&error=not_a_member"


@pytest.mark.parametrize("field", ["callbackURL", "errorCallbackURL"])
async def test_neither_end_leads_to_another_site(org: Organization, field: str) -> None:
    body = {"providerId": "pocket-id", field: "https://evil.test/"}

    answer = await org.browser().post(START, json=body, headers={"origin": ADMIN_URL})

    assert (answer.status_code, answer.json()["error"]) == (403, "invalid_callback_url")


async def test_it_is_for_the_operators_host(org: Organization) -> None:
    answers = [
        await org.browser(CUSTOMER_URL).post(START, json={"providerId": "pocket-id"}),
        await org.browser(CUSTOMER_URL).get(CALLBACK),
    ]

    assert [answer.status_code for answer in answers] == [404, 404]


@pytest.mark.parametrize("provider", ["google", ""])
async def test_another_provider_is_unknown(org: Organization, provider: str) -> None:
    answer = await org.browser().post(START, json={"providerId": provider}, headers={"origin": ADMIN_URL})

    assert (answer.status_code, answer.json()["error"]) == (400, "provider_not_found")


async def test_without_a_provider_there_is_nothing_to_sign_in_with(world: GatewayWorld) -> None:
    answer = await world.admin.post(START, json={"providerId": "pocket-id"}, headers={"origin": ADMIN_URL})

    assert (answer.status_code, answer.json()["error"]) == (400, "provider_not_found")


@pytest.mark.parametrize(("fallback", "status", "mode"), [(False, 403, "oidc-only"), (True, 200, "oidc-with-fallback")])
async def test_operators_passwords_are_off_beside_a_provider_unless_wanted(
    world: GatewayWorld, fallback: bool, status: int, mode: str
) -> None:
    await world.user(Role.ADMIN, email="op@example.org")
    await world.user(email="ann@example.org")
    async with _organization(world, ADMIN_AUTH_SHOW_FALLBACK=fallback) as org:
        answers = [
            await org.browser(url).post("/api/auth/sign-in/email", json={"email": email, "password": PASSWORD})
            for url, email in ((ADMIN_URL, "op@example.org"), (CUSTOMER_URL, "ann@example.org"))
        ]
        options = (await org.browser().get("/api/auth/admin-login-options")).json()

    assert [answer.status_code for answer in answers] == [status, 200]
    assert (options["mode"], options["methods"][0]) == (mode, "oidc")
