"""What stations and operators do to transactions: late, wrong, twice, never."""

from collections.abc import Callable
from datetime import datetime

import httpx
import pytest

from polaris_sim.steve import Profile, SteveSimulator

Build = Callable[..., SteveSimulator]


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-08-{text}+00:00")


async def test_an_unknown_tag_gets_a_transaction_and_is_inserted_blocked(
    rest: httpx.AsyncClient, simulator: SteveSimulator
) -> None:
    result = await simulator.start_transaction("CB-1", 1, "STRANGER", start_value=0)

    tag = (await rest.get("/ocppTags?idTag=STRANGER")).json()[0]
    assert (result.transaction_id, result.status) == (1, "Invalid")
    assert (tag["blocked"], tag["maxActiveTransactionCount"], tag["activeTransactionCount"]) == (True, 0, 1)


async def test_steve_decides_by_block_expiry_and_concurrency(simulator: SteveSimulator) -> None:
    simulator.add_tag("BLOCKED", max_active_transaction_count=0)
    simulator.add_tag("FREE", max_active_transaction_count=-1)
    await simulator.start_transaction("CB-1", 1, "TAG-2", start_value=0)
    await simulator.start_transaction("CB-1", 2, "FREE", start_value=0)

    assert await simulator.authorize("CB-1", "BLOCKED") == "Blocked"
    assert await simulator.authorize("CB-1", "TAG-2") == "ConcurrentTx"
    assert await simulator.authorize("CB-1", "FREE") == "Accepted"
    assert await simulator.authorize("CB-1", "NOBODY") == "Invalid"


async def test_the_same_start_again_is_the_same_transaction_and_a_changed_one_is_new(simulator: SteveSimulator) -> None:
    first = await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=5, timestamp=at("20T10:00:00"))
    again = await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=5, timestamp=at("20T10:00:00"))
    other = await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=6, timestamp=at("20T10:00:00"))

    assert (first.transaction_id, again.transaction_id, other.transaction_id) == (1, 1, 2)


@pytest.mark.parametrize(
    ("value", "time"),
    [(99, "21T09:00:00"), (200, "21T07:00:00"), (200, "21T10:06:00")],
    ids=["value steps back", "before the start", "in the future"],
)
async def test_a_refused_stop_leaves_the_transaction_active(
    rest: httpx.AsyncClient, simulator: SteveSimulator, value: int, time: str
) -> None:
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=100, timestamp=at("21T08:00:00"))

    result = simulator.stop_transaction(1, value, at(time))

    assert not result.stored
    assert len((await rest.get("/transactions?type=ACTIVE")).json()) == 1
    assert simulator.state.failed_stops[0].fail_reason == result.fail_reason


async def test_a_second_station_stop_is_refused_by_3_12_and_wins_in_3_11(build: Build) -> None:
    for profile, value in ((Profile.V3_12, "200"), (Profile.V3_11, "300")):
        simulator = build(profile)
        await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=100, timestamp=at("21T08:00:00"))
        simulator.stop_transaction(1, 200, at("21T09:00:00"))
        simulator.stop_transaction(1, 300, at("21T09:30:00"))

        stop = simulator.transaction(1).stop
        assert stop is not None
        assert stop.stop_value == value


async def test_a_stop_of_an_unknown_transaction_is_refused(simulator: SteveSimulator) -> None:
    assert simulator.stop_transaction(-1, 5).fail_reason == "the transaction does not exist"


async def test_a_stop_at_the_start_value_and_odd_value_texts_are_kept_as_they_came(
    rest: httpx.AsyncClient, simulator: SteveSimulator
) -> None:
    for value in ("0", "12.5", ""):
        started = await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=value)
        simulator.stop_transaction(started.transaction_id, value)

    rows = (await rest.get("/transactions?type=STOPPED")).json()
    assert [(row["startValue"], row["stopValue"]) for row in rows] == [("", ""), ("12.5", "12.5"), ("0", "0")]


async def test_samples_come_twice_out_of_order_after_the_stop_and_without_a_transaction(
    rest: httpx.AsyncClient, simulator: SteveSimulator
) -> None:
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0, timestamp=at("21T08:00:00"))
    simulator.meter_values(1, at("21T08:20:00"), [{"value": "20"}])
    simulator.meter_values(1, at("21T08:10:00"), [{"value": "10"}])
    simulator.meter_values(1, at("21T08:10:00"), [{"value": "10"}])
    simulator.meter_values(None, at("21T08:15:00"), [{"value": "15"}], charge_box_id="CB-1", connector_id=1)
    simulator.meter_values(None, at("21T08:15:00"), [{"value": "99"}], charge_box_id="CB-1", connector_id=2)
    simulator.stop_transaction(1, 40, at("21T08:30:00"))
    simulator.meter_values(1, at("21T08:40:00"), [{"value": "40"}])

    values = (await rest.get("/transactions/1")).json()["values"]

    assert [value["value"] for value in values] == ["10", "10", "15", "20", "40"]


async def test_head_drops_samples_after_the_stop(build: Build) -> None:
    simulator = build(Profile.HEAD)
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)
    simulator.stop_transaction(1, 0)

    assert not simulator.meter_values(1, None, [{"value": "5"}])
    assert not simulator.meter_values(77, None, [{"value": "5"}], charge_box_id="CB-1", connector_id=1)
    assert simulator.state.meter_value_count == 0


async def test_the_meter_values_of_a_zombie_end_where_the_next_session_starts(
    rest: httpx.AsyncClient, simulator: SteveSimulator
) -> None:
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0, timestamp=at("21T08:00:00"))
    simulator.meter_values(1, at("21T08:10:00"), [{"value": "10"}])
    simulator.meter_values(1, at("21T09:10:00"), [{"value": "20"}])
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=10, timestamp=at("21T09:00:00"))

    values = (await rest.get("/transactions/1")).json()["values"]

    assert [value["value"] for value in values] == ["10"]


async def test_deleting_a_box_makes_its_transactions_vanish(rest: httpx.AsyncClient, simulator: SteveSimulator) -> None:
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)
    await simulator.start_transaction("CB-2", 1, "TAG-2", start_value=0)

    simulator.delete_charge_box("cb-1")

    assert [row["id"] for row in (await rest.get("/transactions")).json()] == [2]
    assert (await rest.get("/transactions/1")).status_code == 404
    assert simulator.tag("TAG-1").active_ids == set()
