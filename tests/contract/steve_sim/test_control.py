"""``/_sim``: seeding, driving, disturbing."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from starlette.types import ASGIApp

from polaris_sim.steve import SteveSimulator, create_app

Serve = Callable[[ASGIApp], AbstractAsyncContextManager[str]]


async def test_a_session_from_seed_to_stop(control: httpx.AsyncClient, rest: httpx.AsyncClient) -> None:
    await control.post("/charge-boxes", json=[{"chargeBoxId": "CB-9", "connectors": 2, "description": "Roof"}])
    await control.post("/tags", json=[{"idTag": "T-9", "maxActiveTransactionCount": -1, "userPk": 4}])
    assert (await control.post("/authorize", json={"chargeBoxId": "CB-9", "idTag": "T-9"})).json() == {
        "status": "Accepted"
    }
    start = {"chargeBoxId": "CB-9", "connectorId": 2, "idTag": "T-9", "startValue": 100}
    started = (await control.post("/transactions", json=start)).json()
    path = f"/transactions/{started['transactionId']}"
    meter = {"timestamp": "2026-08-21T10:00:00Z", "samples": [{"value": 200, "unit": "Wh"}, 300]}
    assert (await control.post(f"{path}/meter-values", json=meter)).json() == {"stored": True}
    stopped = (await control.post(f"{path}/stop", json={"stopValue": 400, "reason": "Local"})).json()

    details = (await rest.get(path)).json()
    state = (await control.get("/state")).json()
    assert (started["status"], stopped) == ("Accepted", {"stored": True, "failReason": None})
    assert [value["value"] for value in details["values"]] == ["200", "300"]
    assert (details["transaction"]["stopValue"], details["transaction"]["userId"]) == ("400", 4)
    assert (state["energyWh"], state["transactions"], state["activeTransactionIds"]) == ("300", 1, [])


async def test_a_script_drives_many_sessions_and_refs_outlive_it(
    control: httpx.AsyncClient, simulator: SteveSimulator
) -> None:
    def start(ref: str, tag: str) -> dict[str, object]:
        return {
            "do": "start",
            "ref": ref,
            "chargeBoxId": "CB-1",
            "connectorId": 1,
            "idTag": tag,
            "startValue": 0,
            "timestamp": "2026-08-01T10:00:00Z",
        }

    meter = {"do": "meter", "ref": "a", "timestamp": "2026-08-01T10:30:00Z", "samples": [{"value": "5000"}]}
    stop = {"do": "stop", "ref": "a", "stopValue": 9000, "timestamp": "2026-08-01T11:00:00Z", "reason": "Local"}

    first = (await control.post("/script", json=[start("a", "TAG-1"), start("b", "STRANGER"), meter])).json()
    second = (await control.post("/script", json=[stop, stop])).json()

    assert first["transactions"] == {"a": 1, "b": 2}
    assert first["statuses"] == {"a": "Accepted", "b": "Invalid"}
    assert second == {
        "transactions": {},
        "statuses": {},
        "refusedStops": {"a": "already stopped by the station"},
        "applied": 2,
    }
    assert (str(simulator.state.energy_wh()), list(simulator.state.active)) == ("9000", [2])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/script", [{"do": "dance"}]),
        ("/script", [{"do": "stop", "ref": "nobody", "stopValue": 1}]),
        ("/transactions", {"chargeBoxId": "NOBODY", "idTag": "T"}),
        ("/tags", {"idTag": "CHILD", "parentIdTag": "NOBODY"}),
        ("/charge-boxes", {"chargeBoxId": "X", "behaviour": {"mood": "bad"}}),
    ],
)
async def test_what_the_control_api_does_not_understand_is_a_400(
    control: httpx.AsyncClient, path: str, body: object
) -> None:
    response = await control.post(path, json=body)

    assert response.status_code == 400
    assert response.json()["error"]


async def test_the_clock_is_set_and_stands_still(control: httpx.AsyncClient, simulator: SteveSimulator) -> None:
    answer = await control.put("/clock", json={"now": "2027-01-01T00:00:00+01:00", "speed": 0})

    assert answer.json() == (await control.get("/clock")).json() == {"now": "2026-12-31T23:00:00.000Z", "speed": 0}
    assert simulator.clock.now().year == 2026


async def test_faults_disturb_the_rest_api_but_never_the_control_api(
    control: httpx.AsyncClient, rest: httpx.AsyncClient
) -> None:
    rule = {"fault": "html_502", "method": "GET", "path": "ocppTags|_sim", "times": 1}
    await control.put("/faults", json={"seed": 3, "rules": [rule]})

    assert (await control.get("/clock")).status_code == 200
    assert (await rest.get("/transactions")).status_code == 200
    assert (await rest.get("/ocppTags")).headers["content-type"] == "text/html"
    assert (await rest.get("/ocppTags")).status_code == 200
    assert (await control.get("/faults")).json()["injected"] == {"html_502": 1}


@pytest.mark.parametrize("fault", ["reset", "reset_after", "truncated", "timeout_after"])
async def test_connection_faults_reach_a_client_over_a_real_socket(
    serve: Serve, simulator: SteveSimulator, fault: str
) -> None:
    async with serve(create_app(simulator)) as base, httpx.AsyncClient(base_url=base) as client:
        rule = {"fault": fault, "path": "/ocppTags", "times": 1, "seconds": 0.01}
        await client.put("/_sim/faults", json={"rules": [rule]})
        credentials = (simulator.config.username, simulator.config.api_password)

        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.post("/steve/api/v1/ocppTags", json={"idTag": "NEW"}, auth=credentials)

        tags = (await client.get("/steve/api/v1/ocppTags?idTag=NEW", auth=credentials)).json()
        assert len(tags) == (0 if fault == "reset" else 1)


async def test_hooks_are_changed_field_by_field_and_keys_are_not_shown(
    control: httpx.AsyncClient, simulator: SteveSimulator
) -> None:
    url = "http://127.0.0.1:1/api/ocpp/meter-values"
    await control.put("/hooks", json={"meterValuesUrl": url, "meterValuesKey": "secret"})
    answer = await control.put("/hooks", json={"drop": 0.5, "seed": 4, "preAuthorizeEnabled": False})

    assert (answer.json()["meterValuesUrl"], answer.json()["drop"]) == (url, 0.5)
    assert "secret" not in answer.text
    assert simulator.hooks.config.meter_values_key == "secret"
    assert (await control.put("/hooks", json={"droop": 1})).status_code == 400


async def test_drained_waits_until_no_hook_is_in_flight(control: httpx.AsyncClient, simulator: SteveSimulator) -> None:
    await control.put("/hooks", json={"meterValuesUrl": "http://127.0.0.1:1/x", "meterValuesKey": "k"})
    started = await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)
    simulator.meter_values(started.transaction_id, None, [{"value": "1"}])

    answer = (await control.get("/hooks/drained", params={"timeout": 5})).json()

    assert (answer["drained"], answer["counters"]["meterValues"]["failed"]) == (True, 1)


async def test_the_operator_deletes_a_tag_and_a_box(control: httpx.AsyncClient, simulator: SteveSimulator) -> None:
    assert (await control.delete("/tags/tag-2")).status_code == 200
    assert (await control.delete("/charge-boxes/CB-2")).status_code == 200
    assert (await control.delete("/tags/tag-2")).status_code == 400
    assert simulator.state.tag("TAG-2") is None
    assert len(simulator.state.charge_boxes()) == 1
