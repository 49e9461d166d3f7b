"""Hosts, errors and headers that every answer has."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import text
from tests.support.gateway import GatewayWorld, meter_values

from gateway.auth import endpoints as auth
from gateway.dependencies import current_driver, current_operator
from gateway.health import endpoints as health
from gateway.ocpp import endpoints as ocpp
from gateway.sessions import endpoints as sessions
from polaris_common.models import Role


async def _get(world: GatewayWorld, host: str, path: str) -> httpx.Response:
    return await world.steve.get(path, headers={"host": host})


@pytest.mark.parametrize("host", ["polaris.test", "POLARIS.test:8443"])
async def test_the_customer_api_answers_on_the_customer_host(world: GatewayWorld, host: str) -> None:
    assert (await _get(world, host, "/api/customer/sessions")).status_code == 401


@pytest.mark.parametrize(
    "host", ["manage.polaris.test", "evil.test", "polaris.test.evil.test", "sub.polaris.test", "127.0.0.1", ""]
)
async def test_the_customer_api_does_not_exist_anywhere_else(world: GatewayWorld, host: str) -> None:
    response = await _get(world, host, "/api/customer/sessions")

    assert (response.status_code, response.json()["error"]) == (404, "not_found")


async def test_the_admin_api_does_not_exist_on_the_customer_host(world: GatewayWorld) -> None:
    assert (await _get(world, "polaris.test", "/api/admin/anything")).status_code == 404


@pytest.mark.parametrize("path", ["/api/health", "/healthz", "/livez", "/readyz"])
async def test_health_answers_on_any_host(world: GatewayWorld, path: str) -> None:
    assert (await _get(world, "10.0.0.7:8000", path)).status_code == 200


async def test_hooks_answer_on_any_host_with_cookies_and_without_an_origin(world: GatewayWorld) -> None:
    world.steve.headers["cookie"] = "a=b"

    assert (await world.hook("meter-values", meter_values())).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("DELETE", "/api/health", 405), ("GET", "/api/ocpp/meter-values", 405)],
)
async def test_the_framework_s_errors_have_our_shape_and_headers(
    world: GatewayWorld, method: str, path: str, status: int
) -> None:
    response = await world.customer.request(method, path, headers={"x-request-id": "abc"})

    assert response.status_code == status
    assert set(response.json()) == {"error", "message", "requestId"}
    assert response.json()["requestId"] == response.headers["x-request-id"] == "abc"
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_crash_in_a_handler_has_our_shape_and_headers_and_says_nothing(world: GatewayWorld) -> None:
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("DROP TABLE auth_sessions"))

    response = await world.customer.get("/api/auth/get-session", headers={"cookie": "__Secure-polaris.session=x"})

    assert (response.status_code, response.json()["error"]) == (500, "internal")
    assert response.json()["requestId"] == response.headers["x-request-id"]
    assert response.headers["x-frame-options"] == "DENY"
    assert "auth_sessions" not in response.text


async def test_an_operator_is_no_driver(world: GatewayWorld) -> None:
    await world.user(Role.ADMIN)
    await world.sign_in(world.admin)
    world.customer.cookies = world.admin.cookies

    assert (await world.customer.get("/api/customer/sessions")).status_code == 403


PUBLIC = {
    "/api/health",
    "/livez",
    "/readyz",
    "/healthz",
    "/api/auth/sign-in/email",
    "/api/auth/sign-out",
    "/api/auth/get-session",
    "/api/auth/login-methods",
    "/api/auth/admin-login-options",
    "/api/ocpp/pre-authorize",
    "/api/ocpp/meter-values",
}


def test_every_route_names_its_callers_or_is_known_to_be_public() -> None:
    routes: list[Any] = [*health.router.routes, *auth.router.routes, *sessions.router.routes, *ocpp.router.routes]

    unguarded = {route.path for route in routes if not _guarded(route)}

    assert unguarded == PUBLIC


def _guarded(route: Any) -> bool:
    guards: set[Callable[..., Any]] = {current_driver, current_operator}
    return isinstance(route, APIRoute) and any(d.call in guards for d in route.dependant.dependencies)
