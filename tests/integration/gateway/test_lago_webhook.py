"""Lago's webhooks reach the inbox exactly once, or are sent again."""

import base64
import hashlib
import hmac
import json

import httpx
import pytest
from sqlalchemy import text
from tests.support.gateway import LAGO_WEBHOOK_KEY, GatewayWorld

BODY = json.dumps(
    {"webhook_type": "invoice.created", "object_type": "invoice", "invoice": {"lago_id": "i-1", "status": "finalized"}}
).encode()


async def _send(
    world: GatewayWorld, body: bytes = BODY, *, key: str = LAGO_WEBHOOK_KEY, unique_key: str = "delivery-1"
) -> httpx.Response:
    signature = base64.b64encode(hmac.new(key.encode(), body, hashlib.sha256).digest()).decode()
    headers = {
        "X-Lago-Signature": signature,
        "X-Lago-Signature-Algorithm": "hmac",
        "X-Lago-Unique-Key": unique_key,
        "Content-Type": "application/json",
    }
    return await world.steve.post("/api/webhook/lago", content=body, headers=headers)


async def _inbox(world: GatewayWorld) -> list[tuple[str, str]]:
    async with world.database.unit_of_work() as uow:
        rows = await uow.execute(text("SELECT webhook_type, status FROM lago_webhook_events ORDER BY id"))
        return [(row.webhook_type, row.status) for row in rows]


async def test_a_signed_webhook_is_stored_before_it_is_answered(world: GatewayWorld) -> None:
    response = await _send(world)
    assert (response.status_code, response.json()) == (200, {"ok": True, "duplicate": False})
    assert await _inbox(world) == [("invoice.created", "pending")]


async def test_a_webhook_delivered_twice_is_stored_once(world: GatewayWorld) -> None:
    await _send(world)
    response = await _send(world)
    assert (response.status_code, response.json()["duplicate"]) == (200, True)
    assert len(await _inbox(world)) == 1


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "missing_signature"),
        ({"X-Lago-Signature": "bm8=", "X-Lago-Signature-Algorithm": "hmac"}, "invalid_signature"),
        ({"X-Lago-Signature": "a.b.c", "X-Lago-Signature-Algorithm": "jwt"}, "invalid_signature"),
    ],
)
async def test_a_webhook_that_lago_did_not_sign_is_refused_and_changes_nothing(
    world: GatewayWorld, headers: dict[str, str], code: str
) -> None:
    response = await world.steve.post("/api/webhook/lago", content=BODY, headers=headers)
    assert (response.status_code, response.json()["error"]) == (401, code)
    assert await _inbox(world) == []


async def test_a_webhook_signed_with_another_key_is_refused(world: GatewayWorld) -> None:
    assert (await _send(world, key="another")).status_code == 401


async def test_a_signed_body_that_is_no_object_is_refused(world: GatewayWorld) -> None:
    response = await _send(world, b"null")
    assert (response.status_code, response.json()["error"]) == (400, "invalid_json")


async def test_a_body_of_more_than_five_mebibytes_is_refused(world: GatewayWorld) -> None:
    response = await _send(world, b" " * (5 * 1024 * 1024 + 1))
    assert (response.status_code, response.json()["error"]) == (413, "body_too_large")


async def test_a_webhook_that_cannot_be_stored_is_answered_503_so_that_lago_sends_it_again(world: GatewayWorld) -> None:
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("ALTER TABLE lago_webhook_events RENAME TO away"))
    response = await _send(world)
    assert (response.status_code, response.json()["error"]) == (503, "unavailable")
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("ALTER TABLE away RENAME TO lago_webhook_events"))
    assert (await _send(world)).status_code == 200
