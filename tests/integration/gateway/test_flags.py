"""Feature flags: who decides what a device sees, and who hears of a change."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError
from tests.support.gateway import ADMIN_URL, GatewayWorld

from polaris_common.feature_flags import device_values, differing
from polaris_common.models import AppDevice, Role

FLAG = "customer.connectivityCheck"


@pytest.fixture
async def operator(world: GatewayWorld) -> UUID:
    """An operator, signed in."""
    user_id = await world.user(Role.ADMIN, email="op@example.org")
    await world.sign_in(world.admin, "op@example.org")
    return user_id


async def _device(world: GatewayWorld, owner: UUID, **values: Any) -> UUID:
    row = {"label": "Phone", "owner_user_id": owner, "capabilities": ["user"]} | values
    async with world.database.unit_of_work() as uow:
        device_id: UUID = (await uow.execute(insert(AppDevice).values(row).returning(AppDevice.id))).scalar_one()
    return device_id


async def _set(world: GatewayWorld, tier: str, value: Any, *, key: str = FLAG) -> httpx.Response:
    path = f"/api/admin/{tier}feature-flags"
    return await world.admin.patch(path, json={"flags": [{"key": key, "value": value}]}, headers={"origin": ADMIN_URL})


async def _seen(world: GatewayWorld, device: UUID, owner: UUID) -> dict[str, Any]:
    async with world.database.unit_of_work() as uow:
        return {key: value.value for key, value in differing(await device_values(uow, device, owner)).items()}


async def _column(world: GatewayWorld, query: str) -> list[Any]:
    async with world.database.unit_of_work() as uow:
        return list((await uow.execute(text(query))).scalars())


async def test_the_device_decides_before_its_owner_and_the_owner_before_everybody(
    world: GatewayWorld, operator: UUID
) -> None:
    owner = await world.user()
    device = await _device(world, owner)
    seen = [await _seen(world, device, owner)]
    for tier, value in (("", False), (f"users/{owner}/", True), (f"devices/{device}/", False)):
        assert (await _set(world, tier, value)).status_code == 200
        seen.append(await _seen(world, device, owner))
    for tier in (f"devices/{device}/", f"users/{owner}/", ""):
        assert (await _set(world, tier, None)).status_code == 200
        seen.append(await _seen(world, device, owner))

    off: dict[str, Any] = {FLAG: False}
    assert seen == [{}, off, {}, off, {}, off, {}]


async def test_answers_say_what_holds_and_leave_out_defaults(world: GatewayWorld, operator: UUID) -> None:
    owner = await world.user()

    everybody = await _set(world, "", False)
    person = await _set(world, f"users/{owner}/", True)

    assert everybody.json() == {"ok": True, "changedKeys": [FLAG]}
    assert person.json() == {"ok": True, "flags": {}}


async def test_the_registry_is_listed_with_what_holds_and_why(world: GatewayWorld, operator: UUID) -> None:
    owner = await world.user()
    await _set(world, "", False)

    flags = {
        each["key"]: each for each in (await world.admin.get(f"/api/admin/users/{owner}/feature-flags")).json()["items"]
    }

    assert set(flags) == {FLAG, "device.location.upload"}
    assert flags[FLAG] == flags[FLAG] | {
        "type": "boolean",
        "defaultValue": True,
        "globalValue": False,
        "effectiveValue": False,
        "source": "global",
        "updatedBy": f"admin:{operator}",
    }


async def test_a_list_that_the_browser_has_is_not_sent_again(world: GatewayWorld, operator: UUID) -> None:
    first = await world.admin.get("/api/admin/feature-flags")
    known = {"if-none-match": f"W/{first.headers['etag']}"}

    again = await world.admin.get("/api/admin/feature-flags", headers=known)
    await _set(world, "", False)

    assert (again.status_code, again.content) == (304, b"")
    assert (await world.admin.get("/api/admin/feature-flags", headers=known)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"flags": [{"key": "no.such", "value": True}]}, 400, "invalid_flag"),
        ({"flags": [{"key": FLAG, "value": "yes"}]}, 400, "invalid_value"),
        ({"flags": [{"key": FLAG, "value": 1}]}, 400, "invalid_value"),
        ({"flags": []}, 400, "invalid_body"),
        ({"flags": [{"key": FLAG}]}, 400, "invalid_body"),
        ({"flags": [{"key": FLAG, "value": True, "more": 1}]}, 400, "invalid_body"),
        ({"flags": [{"key": FLAG, "value": True}] * 51}, 400, "invalid_body"),
        ({"flags": [{"key": FLAG, "value": True}], "more": 1}, 400, "invalid_body"),
        (None, 400, "invalid_body"),
    ],
)
async def test_what_the_registry_does_not_know_is_refused_and_changes_nothing(
    world: GatewayWorld, operator: UUID, body: Any, status: int, error: str
) -> None:
    answer = await world.admin.patch("/api/admin/feature-flags", json=body, headers={"origin": ADMIN_URL})

    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert await _column(world, "SELECT flag_key FROM global_feature_flag_values") == []


async def test_nobody_and_no_device_that_is_not_there_has_flags(world: GatewayWorld, operator: UUID) -> None:
    gone = await _device(world, operator)
    await _column(world, "UPDATE devices SET deleted_at = now() RETURNING 1")

    answers = {
        tier: (await _set(world, tier, True)).status_code
        for tier in (f"users/{uuid4()}/", f"devices/{uuid4()}/", f"devices/{gone}/")
    }

    assert list(answers.values()) == [404, 404, 410]


async def test_of_two_entries_for_one_flag_the_last_counts(world: GatewayWorld, operator: UUID) -> None:
    body = {"flags": [{"key": FLAG, "value": True}, {"key": FLAG, "value": False}]}

    await world.admin.patch("/api/admin/feature-flags", json=body, headers={"origin": ADMIN_URL})

    assert await _column(world, "SELECT value_json FROM global_feature_flag_values") == [False]


async def test_each_of_a_person_s_devices_hears_of_it_and_it_is_audited(world: GatewayWorld, operator: UUID) -> None:
    owner = await world.user()
    devices = {str(await _device(world, owner)) for _ in range(2)}
    await _device(world, operator)

    await _set(world, f"users/{owner}/", False)

    events = await _column(world, "SELECT payload FROM domain_events WHERE type = 'device.feature-flags.changed'")
    audiences = await _column(world, "SELECT audience FROM domain_events WHERE type = 'device.feature-flags.changed'")
    details = await _column(world, "SELECT details FROM auth_audit WHERE event = 'user.feature_flags.changed'")
    assert {event["deviceId"] for event in events} == devices
    assert {f"device:{device}" for device in devices} <= {name for audience in audiences for name in audience}
    assert [(each["targetUserId"], each["values"]) for each in details] == [(str(owner), {FLAG: False})]


async def test_a_change_for_everybody_is_told_and_audited(world: GatewayWorld, operator: UUID) -> None:
    await _set(world, "", False)

    assert await _column(world, "SELECT payload FROM domain_events WHERE type = 'feature-flags.changed'") == [
        {"keys": [FLAG]}
    ]
    assert await _column(world, "SELECT user_id FROM auth_audit WHERE event = 'global.feature_flags.changed'") == [
        operator
    ]


async def test_values_that_the_registry_no_longer_knows_are_ignored(world: GatewayWorld, operator: UUID) -> None:
    device = await _device(world, operator)
    for key, value in (("old.flag", "true"), (FLAG, '"text"')):
        values = f"('{key}', '{value}', 'admin:x')"
        insertion = "INSERT INTO global_feature_flag_values (flag_key, value_json, updated_by) VALUES"
        await _column(world, f"{insertion} {values} RETURNING 1")

    assert await _seen(world, device, operator) == {}


async def test_only_phones_tablets_and_laptops_can_be_devices_with_flags(world: GatewayWorld, operator: UUID) -> None:
    with pytest.raises(IntegrityError):
        await _device(world, operator, kind="charger")
