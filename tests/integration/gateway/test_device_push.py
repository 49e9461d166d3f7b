"""Which requests ring a phone, and asking a managed phone where it is."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.support.gateway import ADMIN_URL, GatewayWorld
from tests.support.phone import PUSH_TOKEN, Phone, register, value

PUSH = {"pushToken": PUSH_TOKEN, "apnsEnvironment": "production"}
MANAGED = ["managed", "scanner"]


@pytest.fixture(autouse=True)
def _push_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APNS_KEY_ID", "KEY0000001")
    monkeypatch.setenv("APNS_TEAM_ID", "TEAM000001")


async def _online_phone(world: GatewayWorld, **changes: Any) -> Phone:
    await world.operator()
    world.admin.headers["origin"] = ADMIN_URL
    phone = await register(world, **changes)
    await phone.be_seen()
    return phone


def _error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


async def _locate(world: GatewayWorld, device_id: str) -> httpx.Response:
    return await world.admin.post(f"/api/admin/devices/{device_id}/locate")


async def test_arming_a_phone_queues_one_push_for_the_request(world: GatewayWorld) -> None:
    phone = await _online_phone(world)
    await phone.call("PUT", f"/api/devices/{phone.device_id}/push-token", json=PUSH)
    arm = {"pairableType": "device", "deviceId": phone.device_id}

    armed, refused = [await world.customer.post("/api/auth/scan-pair", json=arm) for _ in range(2)]

    assert (armed.status_code, refused.status_code) == (200, 409)
    code = "SELECT code FROM outgoing_pushes JOIN pairings ON pairings.id = pairing_id"
    assert await value(world, code) == armed.json()["pairingCode"]


async def test_a_managed_phone_is_asked_where_it_is(world: GatewayWorld) -> None:
    phone = await _online_phone(world, requestedCapabilities=MANAGED)
    other = await register(world, label="Other", requestedCapabilities=["scanner"])
    await phone.call("PUT", f"/api/devices/{phone.device_id}/push-token", json=PUSH)

    answer = await _locate(world, phone.device_id)
    refusals = [_error(await _locate(world, each)) for each in (other.device_id, str(uuid4()), "CP-1")]

    assert answer.status_code == 202
    assert answer.json() == {"correlationId": str(await value(world, "SELECT id FROM outgoing_pushes"))}
    assert refusals == [(400, "not_managed"), (404, "not_found"), (404, "not_found")]


async def test_a_phone_without_push_cannot_be_asked_where_it_is(world: GatewayWorld) -> None:
    phone = await _online_phone(world, requestedCapabilities=MANAGED, pushToken="")

    assert _error(await _locate(world, phone.device_id)) == (409, "no_push_token")


async def test_where_nothing_can_be_pushed_an_operator_is_told(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.settings, "apns_key_id", None)
    phone = await _online_phone(world, requestedCapabilities=MANAGED)
    await phone.call("PUT", f"/api/devices/{phone.device_id}/push-token", json=PUSH)

    answer = await _locate(world, phone.device_id)

    assert (*_error(answer), answer.json()["reason"]) == (502, "push_send_failed", "JwtSignFailed")
    assert await value(world, "SELECT count(*) FROM outgoing_pushes") == 0
