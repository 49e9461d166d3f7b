"""The fleet of cars."""

import asyncio
import itertools
from datetime import UTC, datetime

import pytest

from polaris_sim.clock import SimClock
from polaris_sim.fleet import CarModel, Fleet, FleetBox, charging_power_w
from polaris_sim.steve import SteveConfig, SteveSimulator

CAR = CarModel("test car", 50_000, 11_000, 100_000)
BOXES = (FleetBox("AC-1", max_w=22_000), FleetBox("DC-1", max_w=50_000, dc=True, connectors=1))
DRIVERS = [(f"DRIVER-{number}", f"Driver {number}") for number in range(8)]


def power(charge: float, seconds: float, *, dc: bool = True, box_w: float = 150_000) -> float:
    return charging_power_w(CAR, box_w=box_w, dc=dc, charge=charge, seconds=seconds)


def test_power_ramps_up_stays_at_the_limit_and_tapers() -> None:
    assert power(0.2, 1) < power(0.2, 20) < power(0.2, 60) == 100_000
    assert power(0.2, 60, box_w=50_000) == 50_000
    assert power(0.2, 60, dc=False) == power(0.9, 60, dc=False) == 11_000
    assert 100_000 > power(0.7, 60) > power(0.9, 60) > power(0.99, 60) > 0
    assert power(1.0, 60) == 0


@pytest.fixture
def clock() -> SimClock:
    return SimClock(datetime(2026, 8, 21, 10, tzinfo=UTC), speed=0)


@pytest.fixture
def simulator(clock: SimClock) -> SteveSimulator:
    return SteveSimulator(SteveConfig(clock=clock))


async def live(fleet: Fleet, clock: SimClock, *, steps: int, seconds: float = 5) -> None:
    for _ in range(steps):
        clock.advance(seconds)
        await fleet.step()


async def test_cars_charge_at_once_and_send_register_power_and_soc(simulator: SteveSimulator, clock: SimClock) -> None:
    fleet = Fleet(simulator, charge_boxes=BOXES, drivers=DRIVERS, seed=1)
    await live(fleet, clock, steps=60)

    states = fleet.states()
    assert len(states) == len(simulator.state.active) == 3
    for state in states:
        values = simulator.transaction(state.transaction_id).meter_values
        registers = [int(value.value) for value in values if value.unit == "Wh"]
        assert {value.measurand for value in values} == {
            "Energy.Active.Import.Register",
            "Power.Active.Import",
            "SoC",
        }
        assert registers == sorted(registers)
        assert registers[-1] == state.register_wh
        assert state.session_wh > 0 < state.power_w


async def test_sessions_end_others_follow_and_the_register_of_a_connector_goes_on(
    simulator: SteveSimulator, clock: SimClock
) -> None:
    fleet = Fleet(simulator, charge_boxes=BOXES, drivers=DRIVERS, seed=1)
    await live(fleet, clock, steps=2000, seconds=60)

    by_connector: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for transaction in simulator.state.transactions.values():
        if transaction.stop:
            key = (transaction.charge_box.charge_box_id, transaction.connector_id)
            values = int(transaction.start_value or 0), int(transaction.stop.stop_value)
            by_connector.setdefault(key, []).append(values)
    assert len(by_connector) == 3
    assert not simulator.state.failed_stops
    for sessions in by_connector.values():
        assert len(sessions) > 2
        assert all(before[1] == after[0] for before, after in itertools.pairwise(sessions))
    reasons = {one.stop.stop_reason for one in simulator.state.transactions.values() if one.stop}
    assert reasons == {"Local", "EVDisconnected"}


async def test_the_fleet_reacts_to_remote_start_and_stop(simulator: SteveSimulator) -> None:
    fleet = Fleet(simulator, charge_boxes=[FleetBox("AC-1", connectors=1)], seed=1)
    simulator.add_tag("APP", max_active_transaction_count=2)
    start = {"chargeBoxIdList": ["AC-1"], "idTag": "APP"}

    await simulator.tasks.run("RemoteStartTransaction", start)
    await simulator.settled()
    (state,) = fleet.states()
    occupied = await simulator.tasks.run("RemoteStartTransaction", start)
    await simulator.tasks.run("RemoteStopTransaction", {"chargeBoxIdList": ["AC-1"], "transactionId": 1})
    await simulator.settled()

    assert (state.id_tag, state.transaction_id) == ("APP", 1)
    assert occupied.success[0]["response"] == "Rejected"
    assert fleet.states() == []
    stop = simulator.transaction(1).stop
    assert stop is not None
    assert stop.stop_reason == "Remote"


async def test_a_blocked_card_does_not_charge_and_a_deleted_box_is_no_error(
    simulator: SteveSimulator, clock: SimClock
) -> None:
    simulator.add_tag("DRIVER-0", max_active_transaction_count=0)
    fleet = Fleet(simulator, charge_boxes=BOXES, drivers=DRIVERS[:2], seed=1)
    await live(fleet, clock, steps=300)
    assert {state.id_tag for state in fleet.states()} <= {"DRIVER-1"}
    assert {one.tag.id_tag for one in simulator.state.transactions.values()} == {"DRIVER-1"}

    simulator.delete_charge_box("AC-1")
    simulator.delete_charge_box("DC-1")
    await live(fleet, clock, steps=2)

    assert fleet.states() == []


async def test_run_steps_until_it_is_told_to_stop() -> None:
    stop = asyncio.Event()

    class UntilCharging(Fleet):
        async def step(self) -> None:
            await super().step()
            if self.states():
                stop.set()

    simulator = SteveSimulator()
    async with asyncio.timeout(10):
        await UntilCharging(simulator, charge_boxes=BOXES, drivers=DRIVERS, seed=1, speed=3000).run(stop)

    assert simulator.state.active
