"""What health says, and to whom it says no."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from tests.support.gateway import CUSTOMER_URL, GatewayWorld

from gateway.app import create_app
from gateway.health import service
from gateway.settings import GatewaySettings
from polaris_common.observability.health import Component, report


async def _health(world: GatewayWorld) -> tuple[int, dict[str, Any]]:
    response = await world.steve.get("/api/health")
    return response.status_code, response.json()


async def _report(world: GatewayWorld, **errors: str | None) -> None:
    async with world.database.unit_of_work() as uow:
        for name, error in errors.items():
            await report(uow, Component(name), error=error)


@asynccontextmanager
async def _gateway_without_database(settings: GatewaySettings) -> AsyncIterator[httpx.AsyncClient]:
    away = settings.model_copy(update={"database_url": "postgresql+asyncpg://u:secret@127.0.0.1:9/x"})
    app = create_app(away)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=CUSTOMER_URL) as client:
            yield client


async def test_all_is_well_when_everybody_says_so(world: GatewayWorld) -> None:
    await _report(world, steve=None, lago=None, sync=None)

    status, health = await _health(world)

    assert (status, health["status"], set(health["checks"])) == (
        200,
        "ok",
        {"database", "steve", "lago", "sync", "redis"},
    )
    assert health["checks"]["database"]["latencyMs"] >= 0
    assert health["checks"]["steve"]["lastSuccessAt"].endswith("Z")
    assert health["timestamp"].endswith("Z")


async def test_components_that_nobody_has_looked_at_are_degraded(world: GatewayWorld) -> None:
    status, health = await _health(world)

    assert (status, health["status"]) == (200, "degraded")
    assert [health["checks"][name] for name in ("steve", "lago", "sync")] == [
        {"status": "degraded", "error": "not_reported"}
    ] * 3


async def test_an_old_report_is_stale_however_good_it_was(world: GatewayWorld) -> None:
    await _report(world, steve=None, lago=None, sync=None)
    async with world.database.unit_of_work() as uow:
        await uow.execute(
            text("UPDATE component_health SET checked_at = now() - interval '91 s' WHERE component='steve'")
        )

    _, health = await _health(world)

    assert (health["checks"]["steve"]["status"], health["checks"]["steve"]["error"]) == ("degraded", "stale")
    assert health["checks"]["lago"]["status"] == "ok"


async def test_a_worker_s_code_is_shown_but_never_a_message(world: GatewayWorld) -> None:
    await _report(world, steve="Connect to 10.0.0.1 failed: secret", lago="not_configured", sync=None)

    status, health = await _health(world)

    assert (status, health["status"]) == (200, "degraded")
    assert health["checks"]["lago"]["error"] == "not_configured"
    assert health["checks"]["steve"]["error"] == "failing"


async def test_the_last_sync_run_is_named(world: GatewayWorld) -> None:
    await _report(world, sync=None)
    async with world.database.unit_of_work() as uow:
        values = "('manual', 'completed', '2026-03-01T12:00:00Z')"
        await uow.execute(text(f"INSERT INTO sync_runs (trigger, status, completed_at) VALUES {values}"))  # noqa: S608

    _, health = await _health(world)

    assert health["checks"]["sync"]["lastRun"] == "2026-03-01T12:00:00.000Z"


async def test_without_a_database_the_platform_is_unhealthy_but_alive_and_tells_no_secret(
    settings: GatewaySettings,
) -> None:
    async with _gateway_without_database(settings) as client:
        health = await client.get("/api/health")
        others = {path: (await client.get(path)).status_code for path in ("/livez", "/readyz", "/healthz")}

    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
    assert health.json()["checks"]["database"] == {"status": "unhealthy", "error": "unreachable"}
    assert "secret" not in health.text
    assert "127.0.0.1" not in health.text
    assert others == {"/livez": 200, "/readyz": 503, "/healthz": 503}


async def test_without_a_database_a_sign_in_is_told_to_come_back(settings: GatewaySettings) -> None:
    async with _gateway_without_database(settings) as client:
        response = await client.post("/api/auth/sign-in/email", json={"email": "a@b", "password": "x"})

    assert (response.status_code, response.json()["error"]) == (503, "unavailable")


async def test_many_questions_at_once_are_one_look(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    look = service.HealthService.database_reachable

    async def counted(self: service.HealthService) -> bool:
        nonlocal looks
        looks += 1
        return await look(self)

    monkeypatch.setattr(service.HealthService, "database_reachable", counted)
    for _ in range(20):
        await _health(world)

    assert looks == 1
