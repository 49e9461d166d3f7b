"""``/transactions``: filters, details, manual stops, the CSV report."""

import csv
import io
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx
import pytest

from polaris_sim.clock import SimClock
from polaris_sim.steve import Profile, SteveSimulator

Connect = Callable[[SteveSimulator], httpx.AsyncClient]
Build = Callable[..., SteveSimulator]

ENERGY = {"measurand": "Energy.Active.Import.Register"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-08-{text}+00:00")


async def test_a_transaction_shows_text_values_milliseconds_and_nulls(
    rest: httpx.AsyncClient, simulator: SteveSimulator
) -> None:
    await simulator.start_transaction("cb-1", 2, "tag-1", start_value=1500, timestamp=at("21T09:00:00.123987"))

    assert (await rest.get("/transactions")).json() == [
        {
            "id": 1,
            "connectorId": 2,
            "chargeBoxPk": 1,
            "ocppTagPk": 1,
            "userId": 9,
            "chargeBoxId": "CB-1",
            "ocppIdTag": "TAG-1",
            "startTimestamp": "2026-08-21T09:00:00.123Z",
            "startValue": "1500",
            "stopTimestamp": None,
            "stopValue": None,
            "stopReason": None,
            "stopEventActor": None,
        }
    ]


@pytest.fixture
async def five(simulator: SteveSimulator) -> list[int]:
    """Five sessions; the last arrived late from an offline box, the second is active."""
    days = ("01T08:00:00", "21T00:00:00", "11T10:00:00", "20T10:00:00", "02T08:00:00")
    ids = []
    for number, day in enumerate(days):
        box, tag = ("CB-2", "TAG-2") if number == 3 else ("CB-1", "TAG-1")
        started = await simulator.start_transaction(box, 1, tag, start_value=0, timestamp=at(day))
        ids.append(started.transaction_id)
        if number != 1:
            stop_at = at(day) + timedelta(hours=2)
            simulator.stop_transaction(started.transaction_id, 1000 * number, stop_at, reason="Local")
    return ids


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", [5, 4, 3, 2, 1]),
        ("type=ACTIVE", [2]),
        ("type=STOPPED", [5, 4, 3, 1]),
        ("type=", [5, 4, 3, 2, 1]),
        ("transactionPk=1&transactionPk=4&transactionPk=77", [4, 1]),
        ("transactionPk=1,2&type=ACTIVE", [2]),
        ("chargeBoxId=cb-2", [4]),
        ("chargeBoxId=CB-1&chargeBoxId=CB-2&connectorId=1", [5, 4, 3, 2, 1]),
        ("connectorId=2", []),
        ("ocppIdTag=tag-2", [4]),
        ("userId=9", [5, 3, 2, 1]),
        ("periodType=TODAY", [2]),
        ("periodType=LAST_10", [4, 3, 2]),
        ("periodType=LAST_30", [5, 4, 3, 2, 1]),
        ("periodType=FROM_TO&from=2026-08-02T08:00&to=2026-08-11T12:00%2B02:00", [5, 3]),
        ("periodType=FROM_TO&from=2026-08-21&to=2026-08-21T10", [2]),
        ("from=2026-08-21", [5, 4, 3, 2, 1]),
        ("unknown=1", [5, 4, 3, 2, 1]),
    ],
)
async def test_filters_answer_newest_id_first(rest: httpx.AsyncClient, query: str, ids: list[int]) -> None:
    response = await rest.get(f"/transactions?{query}")

    assert [row["id"] for row in response.json()] == ids


@pytest.mark.parametrize(
    "query",
    [
        "type=active",
        "transactionPk=x",
        "periodType=FROM_TO",
        "periodType=FROM_TO&from=2026-08-21&to=2026-08-21",
        "from=21.08.2026",
        "from=2026-08-21 10:00",
        "returnCSV=true",
    ],
)
async def test_what_does_not_bind_is_a_400(rest: httpx.AsyncClient, query: str) -> None:
    response = await rest.get(f"/transactions?{query}")

    assert (response.status_code, response.json()["message"]) == (400, "Error understanding the request")


async def test_3_7_takes_no_zone_in_dates(build: Build, connect: Connect) -> None:
    rest = connect(build(Profile.V3_7_1))
    period = "/transactions?periodType=FROM_TO&from=2026-08-01T00:00&to=2026-08-02T00:00"
    key = {"STEVE-API-KEY": "steve-api-password"}

    assert (await rest.get(period, headers=key)).status_code == 200
    assert (await rest.get(period + "Z", headers=key)).status_code == 400


async def test_a_changed_zone_shows_offsets(build: Build, connect: Connect) -> None:
    simulator = build(zone_offset_hours=2)
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)

    row = (await connect(simulator).get("/transactions")).json()[0]

    assert row["startTimestamp"] == "2026-08-21T12:00:00.000+02:00"


async def test_details_show_energy_only_unless_the_switch_exists_and_is_off(build: Build, connect: Connect) -> None:
    async def measurands(profile: Profile, query: str) -> list[str | None]:
        simulator = build(profile)
        await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0, timestamp=at("21T09:00:00"))
        simulator.meter_values(1, at("21T09:20:00"), [{"value": "1.5", "unit": "kWh", **ENERGY}, {"value": ""}])
        simulator.meter_values(1, at("21T09:10:00"), [{"value": "500"}, {"value": "7000", "measurand": "Power"}])
        simulator.meter_values(1, at("21T09:10:00"), [{"value": "OCMF|x", "format": "SignedData"}])
        return [value["value"] for value in (await connect(simulator).get(f"/transactions/1{query}")).json()["values"]]

    everything = ["500", "7000", "OCMF|x", "1.5", ""]
    assert await measurands(Profile.V3_13, "") == ["500", "1.5"]
    assert await measurands(Profile.V3_13, "?energyValuesOnly=false") == everything
    assert await measurands(Profile.V3_12, "?energyValuesOnly=false") == ["500", "1.5"]


@pytest.mark.parametrize(
    ("samples", "next_start", "guess"),
    [
        ([{"value": "2.5", "unit": "kWh"}, {"value": "9", "unit": "Wh"}], None, "2500"),
        ([], 1800, "1800"),
        ([], None, "1000"),
    ],
)
async def test_a_manual_stop_guesses_its_value(
    rest: httpx.AsyncClient,
    simulator: SteveSimulator,
    samples: list[dict[str, str]],
    next_start: int | None,
    guess: str,
) -> None:
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=1000, timestamp=at("21T08:00:00"))
    for sample in samples:
        simulator.meter_values(1, at("21T08:30:00"), [sample])
    if next_start is not None:
        await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=next_start)

    response = await rest.patch("/transactions/1/stop")

    row = (await rest.get("/transactions/1")).json()["transaction"]
    assert (response.status_code, response.content) == (200, b"")
    assert (row["stopValue"], row["stopEventActor"], row["stopReason"]) == (guess, "manual", None)


async def test_a_station_stop_changes_a_manually_closed_transaction_and_a_manual_one_never(
    rest: httpx.AsyncClient, simulator: SteveSimulator
) -> None:
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=1000, timestamp=at("21T08:00:00"))
    await rest.patch("/transactions/1/stop")
    simulator.stop_transaction(1, 9000, at("21T08:45:00"), reason="Local")
    await rest.patch("/transactions/1/stop")

    row = (await rest.get("/transactions?type=STOPPED")).json()[0]

    assert (row["stopValue"], row["stopEventActor"], row["stopReason"]) == ("9000", "station", "Local")
    assert row["stopTimestamp"] == "2026-08-21T08:45:00.000Z"
    assert len(simulator.transaction(1).stops) == 2


@pytest.mark.usefixtures("five")
async def test_the_report_is_by_stop_time_with_the_end_left_out_and_carries_arrival_times(
    rest: httpx.AsyncClient,
) -> None:
    span = {"from": "2026-08-02T10:00:00Z", "to": "2026-08-20T12:00:00Z"}

    response = await rest.get("/transactions/reports/csv", params=span)
    rows = list(csv.DictReader(io.StringIO(response.text)))

    assert response.headers["content-type"].startswith("text/csv")
    assert [row["transaction_pk"] for row in rows] == ["5", "3"]
    assert list(rows[0])[:3] == ["transaction_pk", "connector_pk", "id_tag"]
    assert rows[0]["stop_event_timestamp"] == "2026-08-21T10:00:00.000Z"
    assert (await rest.get("/transactions/reports/csv?from=2026-08-02T10:00&to=2026-08-03T10:00")).status_code == 400


async def test_a_hundred_thousand_transactions_are_not_scanned_for_the_active_ones(
    rest: httpx.AsyncClient, simulator: SteveSimulator, clock: SimClock
) -> None:
    box, tag, now = simulator.charge_box("CB-1"), simulator.tag("TAG-1"), clock.now()
    for number in range(1, 100_001):
        transaction = simulator.state.start(
            box, 1, tag, start_value="0", timestamp=now - timedelta(seconds=number), now=now
        )
        if number % 50_000:
            simulator.stop_transaction(transaction.id, 5, transaction.start_timestamp)
    scanned: list[int] = []
    real = simulator.state.transactions

    class Watched(dict[int, object]):
        def values(self) -> object:  # type: ignore[override]
            scanned.append(1)
            return real.values()

    simulator.state.transactions = Watched(real)  # type: ignore[assignment]

    active = (await rest.get("/transactions?type=ACTIVE")).json()
    listed = (await rest.get("/transactions?transactionPk=7&transactionPk=99999")).json()

    assert [row["id"] for row in active] == [100_000, 50_000]
    assert [row["id"] for row in listed] == [99_999, 7]
    assert scanned == []
