"""``/operations`` and the fork's tasks and charge boxes."""

from collections.abc import Callable

import httpx
import pytest

from polaris_sim.clock import SimClock
from polaris_sim.steve import StationBehaviour, SteveSimulator
from polaris_sim.steve.operation_forms import OPERATIONS

Connect = Callable[[SteveSimulator], httpx.AsyncClient]
Build = Callable[..., SteveSimulator]

ONE = {"chargeBoxIdList": ["CB-1"]}
START = {**ONE, "idTag": "TAG-1", "connectorId": 2}


async def test_a_remote_start_really_starts_and_a_remote_stop_stops(
    rest: httpx.AsyncClient, simulator: SteveSimulator
) -> None:
    answer = (await rest.post("/operations/RemoteStartTransaction", json=START)).json()
    await simulator.settled()
    started = (await rest.get("/transactions?type=ACTIVE")).json()[0]
    stopped = await rest.post("/operations/RemoteStopTransaction", json={**ONE, "transactionId": started["id"]})
    await simulator.settled()

    assert answer == {
        "taskId": 1,
        "taskFinished": True,
        "successResponses": [{"chargeBoxId": "CB-1", "response": "Accepted"}],
        "errorResponses": [],
        "exceptions": [],
    }
    assert (started["connectorId"], started["ocppIdTag"]) == (2, "TAG-1")
    assert stopped.json()["taskId"] == 2
    assert (await rest.get("/transactions/1")).json()["transaction"]["stopReason"] == "Remote"


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("Reset", {"chargeBoxIdList": ["NOBODY"], "resetType": "Soft"}, "No stations are eligible for communication"),
        ("RemoteStartTransaction", {**ONE, "idTag": "NOBODY"}, "Requested OCPP Tag is not eligible"),
        ("RemoteStopTransaction", {**ONE, "transactionId": 1}, "This transaction is not active at this station."),
        ("CancelReservation", {**ONE, "reservationId": 1}, "This reservation is not active"),
        ("SetChargingProfile", {**ONE, "connectorId": 1, "chargingProfilePk": 3}, "chargingProfilePk is unknown."),
        ("ChangeConfiguration", {**ONE, "key": "X", "value": "1"}, "Error understanding the request"),
        ("UnlockConnector", {**ONE, "connectorId": 0}, "Error understanding the request"),
        ("Reset", {"resetType": "Soft"}, "Error understanding the request"),
    ],
)
async def test_refusals_are_a_400_with_a_text(
    rest: httpx.AsyncClient, name: str, body: dict[str, object], message: str
) -> None:
    response = await rest.post(f"/operations/{name}", json=body)

    assert response.status_code == 400
    assert response.json()["message"].startswith(message)


async def test_an_offline_box_is_not_eligible(rest: httpx.AsyncClient, simulator: SteveSimulator) -> None:
    simulator.add_charge_box("CB-1", online=False)

    assert (await rest.post("/operations/ClearCache", json=ONE)).status_code == 400


async def test_a_silent_station_leaves_the_task_unfinished_and_its_late_answer_is_dropped(
    build: Build, connect: Connect
) -> None:
    simulator = build(operation_timeout_seconds=0.01)
    rest = connect(simulator)
    simulator.add_charge_box("CB-1", behaviour=StationBehaviour(answer_delay_seconds=0.05))

    answer = (await rest.post("/operations/RemoteStartTransaction", json=START)).json()
    await simulator.settled()

    assert (answer["taskFinished"], answer["successResponses"]) == (False, [])
    assert (await rest.get("/operations/tasks/1")).json() == answer
    assert len(simulator.state.active) == 1


async def test_a_station_may_refuse_fail_or_be_unreachable(rest: httpx.AsyncClient, simulator: SteveSimulator) -> None:
    behaviour = StationBehaviour(
        responses={"RemoteStartTransaction": "Rejected"},
        errors={"Reset": "NotSupported"},
        exceptions={"ClearCache": "connection lost"},
    )
    simulator.add_charge_box("CB-1", behaviour=behaviour)

    rejected = (await rest.post("/operations/RemoteStartTransaction", json=START)).json()
    failed = (await rest.post("/operations/Reset", json={**ONE, "resetType": "Hard"})).json()
    lost = (await rest.post("/operations/ClearCache", json=ONE)).json()
    await simulator.settled()

    assert rejected["successResponses"][0]["response"] == "Rejected"
    assert failed["errorResponses"][0]["errorCode"] == "NotSupported"
    assert lost["exceptions"] == [{"chargeBoxId": "CB-1", "exceptionMessage": "connection lost"}]
    assert simulator.state.transactions == {}


@pytest.mark.parametrize(("mode", "count"), [("never", 0), ("twice", 2)])
async def test_a_station_may_accept_and_start_never_or_twice(
    rest: httpx.AsyncClient, simulator: SteveSimulator, clock: SimClock, mode: str, count: int
) -> None:
    clock.run_at(1)
    simulator.add_charge_box("CB-1", behaviour=StationBehaviour(remote_start=mode))

    await rest.post("/operations/RemoteStartTransaction", json=START)
    await simulator.settled()

    assert len(simulator.state.transactions) == count


async def test_tasks_are_evicted_and_count_from_one_after_a_restart(build: Build, connect: Connect) -> None:
    simulator = build(task_history=1)
    rest = connect(simulator)
    for _ in range(2):
        await rest.post("/operations/ClearCache", json=ONE)

    assert (await rest.get("/operations/tasks/1")).status_code == 404
    assert (await rest.get("/operations/tasks/2")).status_code == 200
    simulator.restart()
    assert (await rest.get("/operations/tasks/2")).status_code == 404
    assert (await rest.post("/operations/ClearCache", json=ONE)).json()["taskId"] == 1


async def test_a_reservation_is_made_used_and_cancelled(rest: httpx.AsyncClient, simulator: SteveSimulator) -> None:
    body = {**ONE, "connectorId": 1, "idTag": "TAG-1", "expiry": "2026-08-21T11:00:00Z"}
    for _ in range(2):
        assert (await rest.post("/operations/ReserveNow", json=body)).status_code == 200

    cancelled = await rest.post("/operations/CancelReservation", json={**ONE, "reservationId": 1})
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)

    assert cancelled.json()["successResponses"][0]["response"] == "Accepted"
    assert simulator.state.reservations == {}
    past = {**body, "expiry": "2026-08-21T09:00:00Z"}
    assert (await rest.post("/operations/ReserveNow", json=past)).status_code == 400


async def test_the_configuration_says_that_the_station_asks_steve(rest: httpx.AsyncClient) -> None:
    body = {**ONE, "confKeyList": ["LocalPreAuthorize"], "commaSeparatedCustomConfKeys": "Mystery"}

    answer = (await rest.post("/operations/GetConfiguration", json=body)).json()

    assert answer["successResponses"][0]["response"] == {
        "configurationKeys": [{"key": "LocalPreAuthorize", "value": "false", "readonly": False}],
        "unknownKeys": ["Mystery"],
    }


async def test_an_operation_goes_to_every_station_of_the_list(rest: httpx.AsyncClient) -> None:
    answer = (await rest.post("/operations/ClearCache", json={"chargeBoxIdList": ["cb-1", "CB-2"]})).json()

    assert {one["chargeBoxId"] for one in answer["successResponses"]} == {"CB-1", "CB-2"}


def test_there_are_twenty_five_operations() -> None:
    assert len(OPERATIONS) == 25


async def test_the_fork_lists_charge_boxes_with_a_heartbeat_for_people(rest: httpx.AsyncClient) -> None:
    boxes = (await rest.get("/chargeBoxes")).json()

    assert boxes[0] == {
        "chargeBoxId": "CB-1",
        "chargeBoxPk": 1,
        "description": "Garage",
        "ocppProtocol": "ocpp1.6J",
        "lastHeartbeatTimestamp": "Today at 10:00",
    }
    assert boxes[1]["description"] is None
