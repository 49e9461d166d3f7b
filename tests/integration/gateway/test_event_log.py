"""The event log as one JSON list: what the streams tell, for programs of operators."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from tests.support.gateway import GatewayWorld

from polaris_common.events.catalogue import PUBLIC, Audience, FeatureFlagsChanged, user_audience
from polaris_common.events.live import TagSeen
from polaris_common.events.relay import number_waiting
from polaris_common.models import Role


@pytest.fixture
async def operator(world: GatewayWorld) -> UUID:
    """An operator, signed in."""
    user_id = await world.user(Role.ADMIN, email="op@example.org")
    await world.sign_in(world.admin, "op@example.org")
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("DELETE FROM domain_events"))
    return user_id


async def _happen(world: GatewayWorld, *events: Any) -> None:
    async with world.database.unit_of_work() as uow:
        for event in events:
            uow.emit(event)
    relay = await world.database.connect_raw()
    await number_waiting(relay)
    await relay.close()


def _card(number: int) -> TagSeen:
    return TagSeen(id_tag=f"{number:08X}", seen_at="2025-03-01T12:00:00.000Z")


async def _events(world: GatewayWorld, **query: Any) -> Any:
    answer = await world.admin.get("/api/events", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_log_is_read_piece_by_piece_without_gap_or_repeat(world: GatewayWorld, operator: UUID) -> None:
    del operator
    await _happen(world, *map(_card, range(1, 6)))
    first = await _events(world, limit=2)
    second = await _events(world, after=first["after"], limit=2)
    third = await _events(world, after=second["after"], limit=2)
    await _happen(world, _card(6))
    fourth = await _events(world, after=third["after"], limit=2)

    pieces = [first, second, third, fourth]
    assert [event["payload"]["idTag"][-1] for piece in pieces for event in piece["events"]] == list("123456")
    assert [piece["more"] for piece in pieces] == [True, True, False, False]
    assert first["events"][0].keys() == {"seq", "type", "createdAt", "payload"}
    assert first["events"][0]["type"] == "tag.seen"


async def test_an_operator_gets_what_operators_see_and_no_drivers_own_events(
    world: GatewayWorld, operator: UUID
) -> None:
    driver = await world.user()

    def flags(audience: str, key: str) -> FeatureFlagsChanged:
        return FeatureFlagsChanged(audience=Audience((audience,)), keys=[key])

    await _happen(
        world, flags(PUBLIC, "all"), flags(user_audience(driver), "driver"), flags(user_audience(operator), "mine")
    )
    read = await _events(world)

    assert [event["payload"]["keys"] for event in read["events"]] == [["all"], ["mine"]]


async def test_where_the_log_no_longer_reaches_it_says_gone_and_from_where_to_go_on(
    world: GatewayWorld, operator: UUID
) -> None:
    del operator
    await _happen(world, *map(_card, range(6)))
    newest = (await _events(world))["after"]
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("DELETE FROM domain_events WHERE seq <= :seq"), {"seq": newest - 2})

    for after in (newest - 3, newest + 1):
        gone = await world.admin.get("/api/events", params={"after": after})
        assert (gone.status_code, gone.json()["error"]) == (410, "events_gone")
        assert (gone.json()["resync"], gone.json()["after"]) == (True, newest)
    assert len((await _events(world, after=newest - 2))["events"]) == 2
    assert len((await _events(world))["events"]) == 2
    assert (await _events(world, after=newest))["events"] == []


async def test_it_is_on_the_operators_host_alone(world: GatewayWorld, operator: UUID) -> None:
    del operator
    assert (await world.customer.get("/api/events")).status_code == 404
    for query in ("after=-1", "after=x", "limit=0", "limit=1001"):
        assert (await world.admin.get(f"/api/events?{query}")).status_code == 422
