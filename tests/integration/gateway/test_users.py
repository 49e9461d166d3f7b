"""Operators look after people; superadmins look after operators."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import insert, select, text
from tests.support.gateway import ADMIN_URL, PASSWORD, GatewayWorld
from tests.support.mail import Mailbox

from polaris_common.models import Role, TagMapping, User

USERS = "/api/admin/user"
ORIGIN = {"origin": ADMIN_URL}
NEW = {"email": "new@example.org", "name": "New", "role": "admin", "password": PASSWORD}


async def _create(world: GatewayWorld, **change: Any) -> httpx.Response:
    body = {name: value for name, value in (NEW | change).items() if value is not None}
    return await world.admin.post(USERS, json=body, headers=ORIGIN)


async def _put(world: GatewayWorld, user_id: UUID, **body: Any) -> httpx.Response:
    return await world.admin.put(f"{USERS}/{user_id}", json=body, headers=ORIGIN)


async def _delete(world: GatewayWorld, path: str) -> httpx.Response:
    return await world.admin.delete(f"{USERS}/{path}", headers=ORIGIN)


def _outcome(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


async def test_a_superadmin_adds_an_operator_who_then_signs_in(world: GatewayWorld) -> None:
    me = await world.operator(superadmin=True)

    created = await _create(world)

    body = created.json()
    assert (created.status_code, body | {"id": ""}) == (
        201,
        {"id": "", "email": "new@example.org", "name": "New", "role": "admin", "superadmin": False},
    )
    [row] = await world.audited("user.created")
    assert (row.user_id, row.details["targetUserId"]) == (me, body["id"])
    assert (await world.sign_in(world.admin, "new@example.org")).status_code == 200


async def test_an_operator_without_a_password_is_invited_by_mail(world: GatewayWorld, mailbox: Mailbox) -> None:
    await world.operator(superadmin=True)

    await _create(world, password=None)
    reset = {"token": await mailbox.token(), "newPassword": PASSWORD}
    await world.admin.post("/api/admin/reset-password", json=reset, headers=ORIGIN)

    assert (await world.sign_in(world.admin, "new@example.org")).status_code == 200


async def test_any_operator_adds_drivers_but_only_superadmins_add_or_change_operators(world: GatewayWorld) -> None:
    await world.operator()
    other = await world.user(Role.ADMIN, email="other@example.org")
    driver = await world.user(email="ann@example.org")

    assert (await _create(world, role="customer")).status_code == 201
    assert [
        _outcome(each)
        for each in (
            await _create(world, email="x@example.org"),
            await _put(world, driver, role="admin"),
            await _put(world, other, role="customer"),
            await _delete(world, str(other)),
        )
    ] == [(403, "forbidden")] * 4


@pytest.mark.parametrize(
    "change",
    [
        {"email": "nobody"},
        {"password": "elevenchars"},
        {"name": " "},
        {"name": "x" * 201},
        {"role": "root"},
        {"role": None},
        {"email": None},
    ],
)
async def test_what_makes_no_person_is_refused(world: GatewayWorld, change: dict[str, Any]) -> None:
    await world.operator(superadmin=True)

    assert _outcome(await _create(world, **change)) == (422, "invalid_request")


async def test_an_address_belongs_to_one_person_in_whatever_case(world: GatewayWorld) -> None:
    await world.operator(superadmin=True)

    answers = await asyncio.gather(_create(world), _create(world, email="NEW@example.org"))

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert [answer.json()["error"] for answer in answers if answer.status_code == 409] == ["email_taken"]


async def test_a_change_of_role_signs_the_person_out_everywhere_at_once(world: GatewayWorld) -> None:
    driver = await world.driver()
    await world.operator(superadmin=True)

    changed = await _put(world, driver, role="admin")

    assert (changed.json()["role"], changed.json()["superadmin"]) == ("admin", False)
    assert (await world.customer.get("/api/auth/get-session")).json() is None
    [row] = await world.audited("user.role_changed")
    assert row.details["before"] == {"role": "customer", "superadmin": False}


async def test_a_change_that_changes_nothing_signs_nobody_out(world: GatewayWorld) -> None:
    driver = await world.driver()
    await world.operator(superadmin=True)

    await _put(world, driver, role="customer")

    assert (await world.customer.get("/api/auth/get-session")).json() is not None


async def test_nobody_changes_or_removes_themselves(world: GatewayWorld) -> None:
    me = await world.operator(superadmin=True)

    assert [_outcome(each) for each in (await _put(world, me, role="customer"), await _delete(world, str(me)))] == [
        (400, "cannot_change_own_role"),
        (400, "cannot_delete_self"),
    ]
    assert _outcome(await _delete(world, f"{me}/sessions")) == (400, "cannot_revoke_self")


async def test_two_superadmins_who_demote_each_other_at_once_leave_one(world: GatewayWorld) -> None:
    first = await world.operator("one@example.org", superadmin=True)
    second = await world.user(Role.ADMIN, email="two@example.org", superadmin=True)
    other = httpx.AsyncClient(transport=world.admin._transport, base_url=ADMIN_URL)
    await world.sign_in(other, "two@example.org")

    await asyncio.gather(
        world.admin.put(f"{USERS}/{second}", json={"role": "customer"}, headers=ORIGIN),
        other.put(f"{USERS}/{first}", json={"role": "customer"}, headers=ORIGIN),
    )

    async with world.database.unit_of_work() as uow:
        assert len((await uow.execute(select(User).where(User.superadmin))).all()) == 1


async def test_a_driver_is_removed_once_nothing_of_theirs_goes_on(world: GatewayWorld) -> None:
    driver = await world.driver()
    await world.operator()
    async with world.database.unit_of_work() as uow:
        await uow.execute(insert(TagMapping).values(id_tag="TAG", user_id=driver))
    await world.session(driver, 7)

    blocked = await _delete(world, str(driver))
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("UPDATE tag_mappings SET is_active = false"))
        await uow.execute(text("UPDATE charging_sessions SET state = 'quarantined', quarantine_reason = 'x'"))
    removed = await _delete(world, str(driver))

    assert (_outcome(blocked), len(blocked.json()["blockers"])) == ((409, "user_in_use"), 2)
    assert removed.json() == {"success": True, "id": str(driver)}
    assert (await world.customer.get("/api/auth/get-session")).json() is None
    assert len(await world.audited("user.deleted")) == 1


async def test_the_list_has_pages_in_a_stable_order_and_can_be_searched(world: GatewayWorld) -> None:
    await world.operator()
    for number in range(5):
        await world.user(email=f"driver_{number}@example.org", password=False)

    pages = [(await world.admin.get(f"{USERS}?skip={skip}&limit=2")).json() for skip in (0, 2, 4)]
    found = (await world.admin.get(USERS, params={"q": "R_3@", "role": "customer"})).json()
    literal = (await world.admin.get(USERS, params={"q": "%"})).json()

    ids = [row["id"] for page in pages for row in page["items"]]
    assert (len(set(ids)), {page["total"] for page in pages}) == (6, {6})
    assert ([row["email"] for row in found["items"]], literal["total"]) == (["driver_3@example.org"], 0)


async def test_a_person_is_shown_with_cards_sessions_and_sign_ins(world: GatewayWorld) -> None:
    driver = await world.driver()
    await world.operator()
    async with world.database.unit_of_work() as uow:
        await uow.execute(insert(TagMapping).values(id_tag="TAG", user_id=driver))

    person = (await world.admin.get(f"{USERS}/{driver}")).json()

    assert [card["steveOcppIdTag"] for card in person["mappings"]] == ["TAG"]
    assert (len(person["activeSessions"]), [each["providerId"] for each in person["accounts"]]) == (1, ["credential"])
    assert "argon2" not in str(person)


async def test_operators_end_peoples_sessions(world: GatewayWorld) -> None:
    driver = await world.driver()
    me = await world.operator()
    session = (await world.admin.get(f"{USERS}/{driver}")).json()["activeSessions"][0]["id"]

    stranger = await _delete(world, f"{me}/sessions/{session}")
    one = await _delete(world, f"{driver}/sessions/{session}")
    signed_out = (await world.customer.get("/api/auth/get-session")).json()
    await world.sign_in(world.customer)
    every = await _delete(world, f"{driver}/sessions")

    assert (_outcome(stranger), one.status_code, signed_out, every.json()) == (
        (404, "not_found"),
        204,
        None,
        {"revoked": 1},
    )
    assert [row.user_id for row in await world.audited("session.revoked")] == [me, me]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_unknown_person_is_not_found(world: GatewayWorld, method: str) -> None:
    await world.operator(superadmin=True)
    path = f"{USERS}/00000000-0000-0000-0000-000000000000"

    answer = await world.admin.request(method, path, json={"role": "admin"}, headers=ORIGIN)

    assert _outcome(answer) == (404, "user_not_found")


async def test_people_do_not_exist_for_drivers(world: GatewayWorld) -> None:
    await world.driver()
    world.admin.cookies = world.customer.cookies

    assert (await world.admin.get(USERS)).status_code == 404
