"""Operators view drivers' accounts, read-only and on record; drivers without an active card only look back."""

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from sqlalchemy import insert, text
from tests.support.gateway import CUSTOMER_URL, GatewayWorld

from gateway.app import create_app
from gateway.dependencies import CurrentDriver, requires
from gateway.settings import GatewaySettings
from polaris_common.domain.driver_capabilities import DriverCapability
from polaris_common.identity.principals import Driver
from polaris_common.models import ImpersonationAudit, Role, TagMapping

START, END = "/api/customer/impersonation/start", "/api/customer/impersonation/end"
READ_ONLY = "Read-only while impersonating; use admin tools to mutate."
ORIGIN = {"origin": CUSTOMER_URL}


@pytest.fixture
def app(settings: GatewaySettings) -> FastAPI:
    """A gateway that nobody else gets: ``probe`` adds routes to it."""
    return create_app(settings)


@pytest.fixture
async def probe(world: GatewayWorld) -> None:
    """Routes of a driver that change something, as other features have them."""
    router = APIRouter(prefix="/api/customer/probe")

    @router.api_route("/change", methods=["POST", "PUT", "PATCH", "DELETE"])
    async def change(driver: CurrentDriver) -> str:
        return str(driver.user_id)

    @router.post("/charge")
    async def charge(driver: Driver = Depends(requires(DriverCapability.START_CHARGE))) -> str:  # noqa: B008
        return str(driver.user_id)

    @router.get("/history")
    async def history(driver: Driver = Depends(requires(DriverCapability.VIEW_HISTORY))) -> str:  # noqa: B008
        return str(driver.user_id)

    world.app.include_router(router)


async def _operator_on_the_drivers_host(world: GatewayWorld) -> str:
    """An operator signed in, and a driver with one charging session; the driver's id."""
    await world.operator()
    world.customer.cookies = world.admin.cookies
    driver = await world.user(email="ann@example.org")
    await world.session(driver, 7)
    return str(driver)


async def _start(world: GatewayWorld, customer: str, path: str = START) -> httpx.Response:
    return await world.customer.post(path, json={"customerUserId": customer}, headers=ORIGIN)


async def test_an_operator_views_a_drivers_account_and_leaves_it(world: GatewayWorld) -> None:
    driver = await _operator_on_the_drivers_host(world)
    outside = await world.customer.get("/api/customer/sessions")

    started = await _start(world, driver)
    inside = await world.customer.get("/api/customer/sessions")
    banner = (await world.customer.get("/api/auth/get-session")).json()
    ended = await world.customer.post(END, headers=ORIGIN)
    again = await world.customer.get("/api/customer/sessions")

    assert (started.json()["redirectTo"], started.json()["customerUserId"]) == (f"/?as={driver}", driver)
    assert (outside.status_code, inside.json()["total"], again.status_code) == (403, 1, 403)
    assert banner["user"]["role"] == "admin"
    assert banner["impersonation"] | {"until": ""} == {
        "customerUserId": driver,
        "name": "Ann",
        "email": "ann@example.org",
        "until": "",
        "readOnly": True,
    }
    assert ended.json() == {"redirectTo": "https://manage.polaris.test"}
    assert [row.details["customerUserId"] for row in await world.audited("impersonation.end")] == [driver]


@pytest.mark.usefixtures("probe")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("named", [True, False])
async def test_nothing_can_be_changed_in_an_account_that_is_viewed(
    world: GatewayWorld, method: str, named: bool
) -> None:
    driver = await _operator_on_the_drivers_host(world)
    if not named:
        await _start(world, driver)

    path = f"/api/customer/probe/change{f'?as={driver}' if named else ''}"
    answer = await world.customer.request(method, path, headers=ORIGIN)

    [blocked] = await world.audited("impersonation.write_blocked")
    assert (answer.status_code, answer.json()["error"]) == (403, READ_ONLY)
    assert (blocked.route, blocked.details) == (
        "/api/customer/probe/change",
        {"customerUserId": driver, "method": method},
    )


async def test_naming_the_driver_in_a_request_is_enough_for_that_request(world: GatewayWorld) -> None:
    driver = await _operator_on_the_drivers_host(world)

    named = await world.customer.get(f"/api/customer/sessions?as={driver}")
    plain = await world.customer.get("/api/customer/sessions")

    assert (named.json()["total"], plain.status_code) == (1, 403)


async def test_naming_somebody_does_nothing_for_a_driver(world: GatewayWorld) -> None:
    stranger = await world.user(email="stranger@example.org")
    await world.session(stranger, 7)
    await world.driver()

    answer = await world.customer.get(f"/api/customer/sessions?as={stranger}")

    assert (answer.status_code, answer.json()["total"]) == (200, 0)


@pytest.mark.parametrize("named", ["", "x", "00000000-0000-0000-0000-000000000000", "operator"])
async def test_who_is_no_driver_cannot_be_named(world: GatewayWorld, named: str) -> None:
    await _operator_on_the_drivers_host(world)
    if named == "operator":
        named = str(await world.user(Role.ADMIN, email="other@example.org"))

    answer = await world.customer.get(f"/api/customer/sessions?as={named}")

    assert answer.status_code == 403


async def test_views_are_on_record_once_a_minute_for_each_route(world: GatewayWorld) -> None:
    driver = await _operator_on_the_drivers_host(world)

    for _ in range(4):
        await world.customer.get(f"/api/customer/sessions?as={driver}")
    await world.customer.get(f"/api/customer/sessions/999?as={driver}")

    async with world.database.unit_of_work() as uow:
        rows = [row.route for row in await uow.execute(text("SELECT route FROM impersonation_audit ORDER BY id"))]
        minutes = await uow.session.scalar(text("SELECT count(DISTINCT minute) FROM impersonation_audit"))
    assert rows.count("/api/customer/sessions") in range(1, int(minutes or 1) + 1)
    assert rows.count("/api/customer/sessions/{session_id}") == 1
    assert len(await world.audited("impersonation.start")) == len(rows)


async def test_the_same_view_in_the_same_minute_is_one_row(world: GatewayWorld) -> None:
    operator, driver = await world.user(Role.ADMIN, email="op@example.org"), await world.user()
    row = {"admin_user_id": operator, "customer_user_id": driver, "route": "/x", "method": "GET"}

    async with world.database.unit_of_work() as uow:
        from polaris_common.identity.impersonation import ImpersonationRepository

        repository = ImpersonationRepository(uow)
        noted = [await repository.viewed(operator, driver, route="/x", method="GET") for _ in range(3)]
        await uow.execute(
            insert(ImpersonationAudit).values(**row, minute=text("date_trunc('minute', now() - interval '1 hour')"))
        )

    assert noted == [True, False, False]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE auth_sessions SET acting_until = now()",
        "UPDATE users SET role = 'admin' WHERE email = 'ann@example.org'",
        "DELETE FROM users WHERE email = 'ann@example.org'",
    ],
)
async def test_a_view_ends_after_half_an_hour_and_with_its_driver(world: GatewayWorld, change: str) -> None:
    driver = await _operator_on_the_drivers_host(world)
    await _start(world, driver)
    async with world.database.unit_of_work() as uow:
        minutes = await uow.session.scalar(
            text("SELECT extract(epoch FROM acting_until - now()) / 60 FROM auth_sessions")
        )
        await uow.execute(text(change))

    assert 29 < float(minutes or 0) <= 30
    assert (await world.customer.get("/api/customer/sessions")).status_code == 403
    assert (await world.customer.get("/api/auth/get-session")).json()["impersonation"] is None


async def test_a_view_does_not_outlive_the_operators_role(world: GatewayWorld) -> None:
    driver = await _operator_on_the_drivers_host(world)
    await _start(world, driver)
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("UPDATE users SET role = 'customer'"))

    assert (await world.customer.get("/api/customer/sessions")).json()["total"] == 0


async def test_starting_is_refused_as_the_contract_says(world: GatewayWorld) -> None:
    driver = await _operator_on_the_drivers_host(world)
    own = (await world.customer.get("/api/auth/get-session")).json()["user"]["id"]

    answers = {
        "own": await _start(world, own),
        "unknown": await _start(world, "00000000-0000-0000-0000-000000000000"),
        "no id": await _start(world, "x"),
        "named": await _start(world, driver, f"{START}?as={driver}"),
    }
    await _start(world, driver)
    answers["twice"] = await _start(world, driver)

    assert {name: (answer.status_code, answer.json()["error"]) for name, answer in answers.items()} == {
        "own": (400, "Cannot impersonate yourself"),
        "unknown": (404, "Customer not found"),
        "no id": (422, "invalid_request"),
        "named": (409, "Already impersonating; end the current session first."),
        "twice": (409, "Already impersonating; end the current session first."),
    }


@pytest.mark.parametrize("path", [START, END])
async def test_a_driver_cannot_view_and_the_try_is_on_record(world: GatewayWorld, path: str) -> None:
    user_id = await world.driver()

    answer = await _start(world, str(user_id), path)

    [tried] = await world.audited("privilege_violation")
    assert (answer.status_code, answer.json()["error"], tried.user_id) == (403, "forbidden", user_id)
    assert await world.audited("password.login_failed") == []


@pytest.mark.usefixtures("probe")
async def test_without_an_active_card_a_driver_only_looks_back(world: GatewayWorld) -> None:
    user_id = await world.driver()
    async with world.database.unit_of_work() as uow:
        await uow.execute(insert(TagMapping).values(id_tag="OLD", user_id=user_id, is_active=False))

    refused = await world.customer.post("/api/customer/probe/charge", headers=ORIGIN)
    history = await world.customer.get("/api/customer/probe/history")
    async with world.database.unit_of_work() as uow:
        await uow.execute(insert(TagMapping).values(id_tag="NEW", user_id=user_id))
    allowed = await world.customer.post("/api/customer/probe/charge", headers=ORIGIN)

    body = refused.json()
    assert (refused.status_code, body["error"], body["capability"]) == (403, "Account inactive", "start_charge")
    assert (history.status_code, allowed.status_code) == (200, 200)
    assert [row.details for row in await world.audited("capability.denied")] == [{"capability": "start_charge"}]
