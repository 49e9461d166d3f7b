"""Which pages may read and change what: CORS, Origin, further hosts."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from tests.support.gateway import CUSTOMER_URL, GatewayWorld

from gateway.app import create_app
from gateway.settings import GatewaySettings

APP = "https://app.polaris.test"


@asynccontextmanager
async def _gateway(settings: GatewaySettings, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings.model_copy(update=changes))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        yield await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=CUSTOMER_URL))


@pytest.fixture
async def browser(settings: GatewaySettings) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at a gateway that knows one web app on another host."""
    async with _gateway(settings, cors_origins=(APP,)) as client:
        yield client


def _cors(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}


async def test_our_web_app_may_ask_first_and_then_call_with_cookies(browser: httpx.AsyncClient) -> None:
    asked = {"access-control-request-method": "PATCH", "access-control-request-headers": "idempotency-key"}
    preflight = await browser.options("/api/customer/sessions", headers={"origin": APP, **asked})
    answer = await browser.get("/api/auth/get-session", headers={"origin": APP})

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == APP
    assert "PATCH" in preflight.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]


async def test_our_web_app_can_read_refusals(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/api/customer/sessions", headers={"origin": APP})

    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, APP)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.test", "https://app.polaris.test.evil.test", "http://app.polaris.test", "null", CUSTOMER_URL],
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
async def test_every_other_page_gets_no_word_of_it(browser: httpx.AsyncClient, origin: str, method: str) -> None:
    headers = {"origin": origin, "access-control-request-method": "GET"}

    answer = await browser.request(method, "/api/auth/get-session", headers=headers)

    assert _cors(answer) == {}
    assert "Origin" in answer.headers["vary"]


async def test_without_other_web_apps_there_is_no_cors_at_all(world: GatewayWorld) -> None:
    answer = await world.customer.get("/api/auth/get-session", headers={"origin": APP})

    assert _cors(answer) == {}


async def test_our_web_app_may_change_things_and_a_foreign_page_may_not(browser: httpx.AsyncClient) -> None:
    statuses = {
        origin: (await browser.post("/api/auth/sign-out", headers={"origin": origin, "cookie": "a=b"})).status_code
        for origin in (APP, CUSTOMER_URL, "https://evil.test")
    }

    assert statuses == {APP: 200, CUSTOMER_URL: 200, "https://evil.test": 403}


async def test_a_foreign_page_s_try_is_written_down_but_not_without_end(world: GatewayWorld) -> None:
    for _ in range(15):
        await world.customer.post("/api/auth/sign-out", headers={"origin": "https://evil.test"})

    async with world.database.unit_of_work() as uow:
        query = text("SELECT details FROM auth_audit WHERE event = 'privilege_violation'")
        rows = list((await uow.execute(query)).scalars())
    assert rows == [{"reason": "origin_mismatch", "method": "POST"}] * 10


async def test_further_hosts_belong_to_their_surface(settings: GatewaySettings) -> None:
    async with _gateway(
        settings, customer_extra_hosts=("polaris.localhost",), admin_extra_hosts=("localhost",)
    ) as client:
        statuses = {
            (host, path): (await client.get(path, headers={"host": host})).status_code
            for host in ("polaris.localhost:5173", "LOCALHOST", "elsewhere.localhost")
            for path in ("/api/customer/sessions", "/api/admin/audit")
        }
        page = {"host": "polaris.localhost", "origin": "http://polaris.localhost:5173"}
        changed = await client.post("/api/auth/sign-out", headers=page)

    assert statuses == {
        ("polaris.localhost:5173", "/api/customer/sessions"): 401,
        ("polaris.localhost:5173", "/api/admin/audit"): 404,
        ("LOCALHOST", "/api/customer/sessions"): 404,
        ("LOCALHOST", "/api/admin/audit"): 401,
        ("elsewhere.localhost", "/api/customer/sessions"): 404,
        ("elsewhere.localhost", "/api/admin/audit"): 404,
    }
    assert changed.status_code == 200


@pytest.mark.parametrize("path", ["/privacy", "/terms"])
@pytest.mark.parametrize("host", ["polaris.test", "manage.polaris.test"])
async def test_the_legal_pages_are_public_on_both_surfaces(world: GatewayWorld, path: str, host: str) -> None:
    answer = await world.steve.get(path, headers={"host": host})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


async def test_an_operator_s_own_legal_page_is_linked(settings: GatewaySettings) -> None:
    async with _gateway(settings, privacy_url="https://example.org/privacy") as client:
        answer = await client.get("/privacy")

    assert (answer.status_code, answer.headers["location"]) == (302, "https://example.org/privacy")
