"""What the two event stores accept, refuse and overwrite (facts 1 to 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.contract.lago_sim.conftest import Lago

DUPLICATE = {"transaction_id": ["value_already_exist"]}


async def test_an_event_is_echoed_without_saying_whom_it_will_be_billed_to(lago: Lago) -> None:
    response = await lago.api.post("/events", json={"event": lago.event("1.5", transaction_id="a")})

    event = response.json()["event"]
    assert response.status_code == 200
    assert (event["transaction_id"], event["timestamp"]) == ("a", "2026-08-21T09:00:00.000Z")
    assert event["lago_id"] is not None
    assert event["lago_customer_id"] is event["lago_subscription_id"] is None


@pytest.mark.parametrize(
    "odd",
    [
        {"code": "no_such_metric"},
        {"external_subscription_id": "no-such-subscription"},
        {"external_subscription_id": None},
        {"properties": {"kwh": "many"}},
        {"properties": {}},
    ],
)
async def test_an_event_that_bills_nothing_is_accepted_all_the_same(either: Lago, odd: dict[str, object]) -> None:
    response = await either.api.post("/events", json={"event": {**either.event(), **odd}})

    assert response.status_code == 200
    assert await either.units() == 0
    assert (await either.control.get("/totals")).json()["ignored"] == 1


async def test_a_missing_transaction_id_or_code_is_refused(lago: Lago) -> None:
    response = await lago.api.post("/events", json={"event": {"external_subscription_id": "SUB-1"}})

    mandatory = ["value_is_mandatory"]
    assert response.status_code == 422
    assert response.json()["error_details"] == {"transaction_id": mandatory, "code": mandatory}


async def test_a_body_without_root_key_is_a_400_without_code(lago: Lago) -> None:
    response = await lago.api.post("/events", json=lago.event())

    assert response.status_code == 400
    assert response.json()["error"].startswith("BadRequest")
    assert "code" not in response.json()


async def test_postgres_refuses_a_known_transaction_id_of_the_same_subscription(lago: Lago) -> None:
    await lago.send(lago.event("1", transaction_id="a"))

    response = await lago.api.post("/events", json={"event": lago.event("9", transaction_id="a", code="other")})

    assert (response.status_code, response.json()["error_details"]) == (422, DUPLICATE)
    assert await lago.units() == 1


async def test_postgres_accepts_a_known_transaction_id_of_another_subscription(lago: Lago) -> None:
    lago.subscribe("SUB-2", "standard")
    await lago.send(lago.event(transaction_id="a"))

    response = await lago.send(lago.event(transaction_id="a", external_subscription_id="SUB-2"))

    assert response.status_code == 200
    assert (await lago.control.get("/totals")).json()["duplicateTransactionIds"] == 1


async def test_postgres_never_sees_a_duplicate_without_subscription(lago: Lago) -> None:
    event = lago.event(transaction_id="a", external_subscription_id=None)

    assert [(await lago.send(event)).status_code for _ in range(2)] == [200, 200]


async def test_clickhouse_keeps_the_last_of_equal_events(clickhouse: Lago) -> None:
    first = clickhouse.event("1", transaction_id="a")
    again = {**first, "properties": {"kwh": "5"}}

    assert [(await clickhouse.send(event)).status_code for event in (first, again)] == [200, 200]

    assert await clickhouse.units() == 5
    assert (await clickhouse.usage())["events_count"] == 1
    assert len((await clickhouse.api.get("/events")).json()["events"]) == 2


@pytest.mark.parametrize("change", [{"timestamp": "1787302800.001"}, {"code": "other"}])
async def test_clickhouse_bills_the_same_transaction_id_twice_if_time_or_code_differ(
    clickhouse: Lago, change: dict[str, str]
) -> None:
    event = clickhouse.event("1", transaction_id="a", timestamp="1787302800")

    await clickhouse.send(event, {**event, **change})

    assert (await clickhouse.control.get("/totals")).json()["duplicateTransactionIds"] == 1


async def test_clickhouse_ignores_differences_below_a_millisecond(clickhouse: Lago) -> None:
    event = clickhouse.event("1", transaction_id="a", timestamp="1787302800.0011")

    await clickhouse.send(event, {**event, "timestamp": "1787302800.0019"})

    assert await clickhouse.units() == 1


async def test_clickhouse_answers_without_lago_id(clickhouse: Lago) -> None:
    response = await clickhouse.send(clickhouse.event())

    assert response.json()["events"][0]["lago_id"] is None


async def test_one_duplicate_refuses_the_whole_batch_and_names_its_index(lago: Lago) -> None:
    await lago.send(lago.event(transaction_id="a"))

    response = await lago.send(lago.event(), lago.event(transaction_id="a"), lago.event())

    assert (response.status_code, response.json()["error_details"]) == (422, {"1": DUPLICATE})
    assert await lago.units() == 1


async def test_an_old_server_stores_the_good_part_of_a_refused_batch(lago: Lago) -> None:
    await lago.control.put("/config", json={"partialBatches": True})
    await lago.send(lago.event(transaction_id="a"))

    response = await lago.send(lago.event("2"), lago.event(transaction_id="a"))

    assert (response.status_code, response.json()["error_details"]) == (422, {"1": DUPLICATE})
    assert await lago.units() == 3


async def test_one_transaction_id_on_two_subscriptions_fails_a_postgres_batch(lago: Lago) -> None:
    lago.subscribe("SUB-2", "standard")
    pair = [lago.event(transaction_id="a", external_subscription_id=sub) for sub in ("SUB-1", "SUB-2")]

    response = await lago.send(*pair)

    assert (response.status_code, response.json()["error_details"]) == (422, {"1": DUPLICATE})


@pytest.mark.parametrize(("count", "code"), [(0, "no_events"), (101, "too_many_events")])
async def test_a_batch_has_one_to_a_hundred_events(either: Lago, count: int, code: str) -> None:
    response = await either.send(*[either.event() for _ in range(count)])

    assert (response.status_code, response.json()["error_details"]) == (422, {"events": [code]})
    assert (await either.send(*[either.event() for _ in range(100)])).status_code == 200


@pytest.mark.parametrize("timestamp", ["2026-08-21T09:00:00Z", "1787302800,5", "soon", True, [1]])
async def test_a_timestamp_that_is_not_unix_seconds_is_refused(either: Lago, timestamp: object) -> None:
    response = await either.send(either.event(timestamp=timestamp))

    assert response.status_code == 422
    assert response.json()["error_details"] == {"0": {"timestamp": ["invalid_format"]}}


@pytest.mark.parametrize("timestamp", [1787302800, 1787302800.25, "1787302800", "1787302800.25"])
async def test_unix_seconds_may_be_numbers_or_strings_with_decimals(either: Lago, timestamp: object) -> None:
    response = await either.send(either.event(timestamp=timestamp))

    fraction = "250" if "." in str(timestamp) else "000"
    assert response.json()["events"][0]["timestamp"] == f"2026-08-21T09:00:00.{fraction}Z"


async def test_milliseconds_are_accepted_and_never_billed(either: Lago) -> None:
    response = await either.send(either.event(timestamp="1787302800123"))

    assert response.status_code == 200
    assert response.json()["events"][0]["timestamp"].startswith("586")
    assert await either.units() == 0


async def test_without_timestamp_an_event_happens_when_it_arrives(lago: Lago) -> None:
    response = await lago.send(lago.event(timestamp=None))

    assert response.json()["events"][0]["timestamp"] == "2026-08-21T10:00:00.000Z"


async def test_events_are_found_by_subscription_code_and_time_newest_first(lago: Lago) -> None:
    early, late = lago.event(at="2026-08-20T09:00:00Z"), lago.event(at="2026-08-20T10:00:00Z")
    await lago.send(early, late, lago.event(code="other"), lago.event(external_subscription_id="SUB-9"))

    query = "external_subscription_id=SUB-1&code=ev_energy&timestamp_from=2026-08-20&timestamp_to=2026-08-21T00:00:00Z"
    found = (await lago.api.get(f"/events?{query}")).json()

    ids = [event["transaction_id"] for event in found["events"]]
    assert ids == [late["transaction_id"], early["transaction_id"]]
    assert found["meta"]["total_count"] == 2


async def test_events_since_the_start_need_a_subscription(lago: Lago) -> None:
    await lago.send(lago.event(), lago.event(at="2026-07-20T09:00:00Z"))

    of_life = await lago.api.get("/events?timestamp_from_started_at=true&external_subscription_id=SUB-1")

    assert len(of_life.json()["events"]) == 1
    assert (await lago.api.get("/events?timestamp_from_started_at=true")).status_code == 422


async def test_an_event_is_found_by_its_transaction_id_even_with_a_slash(lago: Lago) -> None:
    await lago.send(lago.event(transaction_id="a/b"))

    assert (await lago.api.get("/events/a%2Fb")).json()["event"]["transaction_id"] == "a/b"
    missing = await lago.api.get("/events/none")
    assert (missing.status_code, missing.json()["code"]) == (404, "event_not_found")
