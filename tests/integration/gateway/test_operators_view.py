"""What operators can find out: the audit, the platform's health, and what is forgotten in time."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, text
from tests.support.gateway import GatewayWorld

from gateway.housekeeping.service import clean_up
from polaris_common.db import AdvisoryLock, Database, LockName
from polaris_common.models import AuthAudit, Role
from polaris_common.observability.health import Component, report


@pytest.fixture
async def operator(world: GatewayWorld) -> UUID:
    """An operator, signed in."""
    user_id = await world.user(Role.ADMIN, email="op@example.org")
    await world.sign_in(world.admin, "op@example.org")
    return user_id


async def _audit(world: GatewayWorld, **query: Any) -> tuple[list[dict[str, Any]], str | None]:
    answer = await world.admin.get("/api/admin/audit", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"], answer.json()["nextCursor"]


async def _execute(database: Database, *statements: str) -> None:
    async with database.unit_of_work() as uow:
        for statement in statements:
            await uow.execute(text(statement))


async def _count(database: Database, table: str) -> int:
    async with database.unit_of_work() as uow:
        return int((await uow.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())  # noqa: S608


async def test_the_audit_is_read_page_by_page_without_gap_or_repeat(world: GatewayWorld, operator: UUID) -> None:
    rows = [{"event": "scan.paired", "user_id": operator, "details": {"n": n}} for n in range(7)]
    async with world.database.unit_of_work() as uow:
        await uow.execute(insert(AuthAudit), rows)
    read, cursor = await _audit(world, event="scan.paired", limit=3)
    while cursor is not None:
        more, cursor = await _audit(world, event="scan.paired", limit=3, cursor=cursor)
        read += more

    assert [entry["metadata"]["n"] for entry in read] == [6, 5, 4, 3, 2, 1, 0]


async def test_the_audit_is_filtered_by_person_event_and_time(world: GatewayWorld, operator: UUID) -> None:
    other = await world.user()
    rows = [{"event": "scan.paired", "user_id": operator}, {"event": "scan.released", "user_id": other}]
    async with world.database.unit_of_work() as uow:
        await uow.execute(insert(AuthAudit), rows)
    await _execute(
        world.database, "UPDATE auth_audit SET created_at = '2026-03-01T12:00:00Z' WHERE event = 'scan.released'"
    )

    found = {
        "person": [entry["event"] for entry in (await _audit(world, userId=str(other)))[0]],
        "event": [entry["userId"] for entry in (await _audit(world, event="scan.paired"))[0]],
        "day": [entry["event"] for entry in (await _audit(world, **{"from": "2026-03-01", "to": "2026-03-01"}))[0]],
    }

    assert found == {"person": ["scan.released"], "event": [str(operator)], "day": ["scan.released"]}


async def test_an_unknown_event_is_refused(world: GatewayWorld, operator: UUID) -> None:
    assert (await world.admin.get("/api/admin/audit?event=no.such")).status_code == 422


async def test_health_tells_operators_what_is_configured_what_failed_and_what_waits(
    world: GatewayWorld, operator: UUID
) -> None:
    async with world.database.unit_of_work() as uow:
        await report(uow, Component.LAGO, error="Connect to 10.0.0.1 failed: secret")
        await report(uow, Component.STEVE, error="unauthorized")
    body = "'k', 'x', 'customer.updated', '{}', 'pending', now() - interval '90 s'"
    columns = "unique_key, body_sha256, webhook_type, payload, status, received_at"
    await _execute(world.database, f"INSERT INTO lago_webhook_events ({columns}) VALUES ({body})")  # noqa: S608

    answer = await world.admin.get("/api/admin/health")
    health = answer.json()

    queues = {queue["name"]: queue for queue in health["queues"]}
    settings = {each["name"]: each["state"] for each in health["settings"]}
    components = {each["name"]: each["error"] for each in health["components"]}
    assert components == {"lago": "failing", "steve": "unauthorized"}
    assert queues["lago_webhooks"]["waiting"] == 1
    assert 89 <= queues["lago_webhooks"]["oldestSeconds"] <= 120
    assert queues["lago_events"]["waiting"] == 0
    assert health["subsystems"]["preAuthorizeHook"] is True
    assert health["subsystems"]["lago"] is False
    assert (settings["AUTH_SECRET"], settings["LAGO_API_URL"]) == ("set", "default")
    assert not any(secret in answer.text for secret in ("10.0.0.1", world.settings.auth_secret.get_secret_value()))


async def test_a_sync_run_that_never_ends_is_degraded(world: GatewayWorld) -> None:
    async with world.database.unit_of_work() as uow:
        await report(uow, Component.SYNC)
    await _execute(
        world.database,
        "INSERT INTO sync_runs (trigger, status, started_at) VALUES ('manual', 'running', now() - interval '31 min')",
    )

    health = (await world.steve.get("/api/health")).json()

    assert (health["checks"]["sync"]["status"], health["checks"]["sync"]["error"]) == ("degraded", "run_stuck")


async def test_without_redis_the_platform_is_degraded_and_serves(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(world.app.state.resources.health, "_ping_redis", away)

    answer = await world.steve.get("/api/health")

    assert answer.status_code == 200
    assert answer.json()["checks"]["redis"] == {"status": "degraded", "error": "unreachable"}
    assert (await world.steve.get("/readyz")).status_code == 200


async def test_what_has_served_its_time_is_forgotten_and_nothing_else(database: Database) -> None:
    audit = "INSERT INTO auth_audit (event, created_at) VALUES ('scan.paired', now() - interval '{} days')"
    keys = (
        "INSERT INTO idempotency_keys (principal, route, key_hash, body_hash, lease_until, created_at)"
        " VALUES ('a', 'b', '{0}', 'x', now(), now() - interval '{0} hours')"
    )
    failures = (
        "INSERT INTO sign_in_failures (subject_hash, failures, updated_at) VALUES ('{0}', 1, now() - interval '{0} h')"
    )
    tokens = (
        "INSERT INTO one_time_tokens (purpose, token_hash, expires_at)"
        " VALUES ('magic_link', '{0}', now() - interval '{0} hours')"
    )
    runs = (
        "INSERT INTO sync_runs (trigger, status, started_at, completed_at)"
        " VALUES ('test', 'completed', now(), now() - interval '{} days')"
    )
    webhooks = (
        "INSERT INTO lago_webhook_events (unique_key, body_sha256, webhook_type, payload, status, processed_at)"
        " VALUES ('{0}', '', 'plan.updated', '{{}}', 'processed', now() - interval '{0} days')"
    )
    await _execute(database, *(each.format(days) for each in (audit, runs, webhooks) for days in (91, 89)))
    await _execute(database, *(each.format(hours) for each in (keys, failures, tokens) for hours in (23, 25)))
    session = (
        "INSERT INTO auth_sessions (user_id, token_hash, expires_at)"
        " SELECT id, '{0}', now() + interval '{0} hours' FROM users"
    )
    taps = (
        "INSERT INTO tap_decisions (decided_at, charge_box_id, is_start, id_tag_hash, blocked, reason, latency_us)"
        " VALUES (now() - interval '{} days', 'CP-1', false, 'x', false, 'no_objection', 1)"
    )
    await _execute(database, *(taps.format(days) for days in (29, 31)))
    await _execute(database, "INSERT INTO users (public_id) VALUES ('AAAAAAA2')", session.format(-1), session.format(1))

    deleted = await clean_up(database)

    names = (
        "auth_audit",
        "auth_sessions",
        "idempotency_keys",
        "lago_webhook_events",
        "one_time_tokens",
        "sign_in_failures",
        "sync_runs",
        "tap_decisions",
    )
    assert deleted == dict.fromkeys(names, 1) | {"notifications": 0}
    assert {await _count(database, table) for table in names} == {1}


async def test_only_one_gateway_cleans_up_at_a_time(database: Database) -> None:
    async with AdvisoryLock(database, LockName.HOUSEKEEPING) as lock:
        assert lock.held
        assert await clean_up(database) == {}


async def test_the_api_can_be_read_and_tried_without_any_other_server(world: GatewayWorld) -> None:
    page = await world.customer.get("/docs/admin")
    script = await world.customer.get("/docs/assets/swagger-ui-bundle.js")
    document = await world.customer.get("/openapi/admin.json")

    assert 'data-document="/openapi/admin.json"' in page.text
    assert "http" not in page.text.replace("https://polaris.test", "")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "SwaggerUIBundle" in script.text
    assert document.json()["openapi"].startswith("3.1")
    assert (await world.customer.get("/openapi/nothing.json")).status_code == 404
    assert (await world.customer.get("/docs/assets/..%2f__init__.py")).status_code == 404
