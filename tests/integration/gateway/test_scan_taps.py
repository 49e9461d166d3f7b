"""What a tap does at a charger that is to read a card."""

import asyncio
import time

import pytest
from sqlalchemy import text
from tests.support.card_reading import TAG, arm, ready, tap
from tests.support.gateway import GatewayWorld
from tests.support.phone import card_of, charger, execute, value

from gateway.ocpp.service import BUDGET_SECONDS


async def test_the_same_card_gets_the_same_answer_and_is_read_once(world: GatewayWorld) -> None:
    await ready(world)

    again = await asyncio.gather(*(tap(world, tag) for tag in (TAG, TAG.lower(), TAG)))

    assert again == ["BLOCKED"] * 3
    assert len(await world.audited("scan.detected")) == 1


async def test_taps_of_the_same_card_at_the_same_time_get_the_same_answer(world: GatewayWorld) -> None:
    await charger(world)
    await arm(world)

    answers = await asyncio.gather(*(tap(world) for _ in range(6)))

    assert answers == ["BLOCKED"] * 6
    assert len(await world.audited("scan.detected")) == 1


async def test_of_two_cards_at_the_same_time_one_is_read_and_the_other_charges(world: GatewayWorld) -> None:
    await charger(world)
    await arm(world)

    answers = await asyncio.gather(tap(world, "04A1"), tap(world, "04B2"))

    assert sorted(answers, key=str) == ["BLOCKED", None]


async def test_a_second_card_within_the_term_charges(world: GatewayWorld) -> None:
    await ready(world)

    assert await tap(world, "04FFFFFF") is None


@pytest.mark.parametrize("end", ["UPDATE pairings SET expires_at = now()", "UPDATE pairings SET status = 'released'"])
async def test_a_tap_after_the_request_is_over_charges(world: GatewayWorld, end: str) -> None:
    await charger(world)
    await arm(world)
    await execute(world, end)

    assert await tap(world) is None


async def test_two_armed_chargers_do_not_mix(world: GatewayWorld) -> None:
    await charger(world)
    await charger(world, "CP-2", "ABCD2346")
    codes = [(await arm(world, {"chargeBoxId": c})).json()["pairingCode"] for c in ("ABCD2345", "ABCD2346")]

    assert [await tap(world, "04A1", "CP-1"), await tap(world, "04B2", "CP-2")] == ["BLOCKED"] * 2
    read = await value(world, "SELECT string_agg(matched_id_tag, ' ' ORDER BY target) FROM pairings")
    assert (read, len(set(codes))) == ("04A1 04B2", 2)


async def test_a_driver_whose_car_charges_is_never_refused(world: GatewayWorld) -> None:
    user_id = await world.user()
    await charger(world)
    await card_of(world, user_id, "04A1")
    await card_of(world, user_id, "04B2")
    await world.session(user_id, 1, id_tag="04A1")
    await arm(world)

    assert [await tap(world, "04A1"), await tap(world, "04b2"), await tap(world, "04C3")] == [None, None, "BLOCKED"]


async def test_a_car_that_begins_to_charge_is_not_stopped(world: GatewayWorld) -> None:
    await charger(world)
    await arm(world)

    assert await tap(world, start=True) is None


async def test_a_tap_that_was_read_does_not_start_a_charge(world: GatewayWorld) -> None:
    await ready(world)

    assert await tap(world, start=True) == "BLOCKED"


async def test_while_the_database_is_slow_steve_decides_and_is_answered_in_time(world: GatewayWorld) -> None:
    await charger(world)
    await arm(world)
    world.app.state.resources.taps.budget_seconds = BUDGET_SECONDS
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("LOCK TABLE pairings IN ACCESS EXCLUSIVE MODE"))
        began = time.perf_counter()
        override = await tap(world)
        took = time.perf_counter() - began

    assert (override, took < 1) == (None, True)
