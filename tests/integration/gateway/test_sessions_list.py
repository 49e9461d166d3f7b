"""A driver's list of sessions and one session with its slices."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert
from tests.support.gateway import START, GatewayWorld

from polaris_common.ids import lago_transaction_id
from polaris_common.models import EnergySlice, LagoEvent, LiveMeter, SessionBilling, TagMapping

LIST = "/api/customer/sessions"
STOPPED: dict[str, Any] = {"stopped_at": START + timedelta(hours=2), "stop_wh": 13_345, "state": "settled"}


async def _list(world: GatewayWorld, **query: object) -> dict[str, Any]:
    response = await world.customer.get(LIST, params={name: str(value) for name, value in query.items()})
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


async def _bill(world: GatewayWorld, session_id: int, ends: list[int], *, delivered: int, status: str) -> None:
    """Slices from 1000 Wh up to each of ``ends``; Lago has the first ``delivered`` of them."""
    async with world.database.unit_of_work() as uow:
        for index, (start, end) in enumerate(zip([1000, *ends], ends, strict=False)):
            values = {
                "session_id": session_id,
                "slice_index": index,
                "from_wh": start,
                "to_wh": end,
                "started_at": START + timedelta(minutes=index),
                "ended_at": START + timedelta(minutes=index + 1),
                "final": end == ends[-1],
                "subscription_external_id": "sub",
            }
            number = (await uow.execute(insert(EnergySlice).values(**values).returning(EnergySlice.id))).scalar_one()
            sent = {"status": "delivered"} if index < delivered else {}
            transaction_id = lago_transaction_id(session_id, start, end)
            await uow.execute(
                insert(LagoEvent).values(slice_id=number, transaction_id=transaction_id, body="{}", **sent)
            )
        billing = {"session_id": session_id, "status": status, "billed_wh": ends[-1] - 1000, "slice_count": len(ends)}
        await uow.execute(insert(SessionBilling).values(**billing))


async def _measure(world: GatewayWorld, transaction: int, register: int | None, power: int | None) -> None:
    values = {"charge_box_id": "CP-1", "connector_id": 1, "sampled_at": START, "register_wh": register}
    async with world.database.unit_of_work() as uow:
        await uow.execute(insert(LiveMeter).values(steve_transaction_id=transaction, power_w=power, **values))


async def test_a_finished_session_says_everything_about_itself(world: GatewayWorld) -> None:
    user_id = await world.driver()
    async with world.database.unit_of_work() as uow:
        mapping = insert(TagMapping).values(id_tag="04A1B2C3", user_id=user_id, display_name="My card")
        mapping_id = (await uow.execute(mapping.returning(TagMapping.id))).scalar_one()
    session_id = await world.session(user_id, 7, tag_mapping_id=mapping_id, **STOPPED)
    await _bill(world, session_id, [5000, 13_345], delivered=1, status="billed")
    await _measure(world, 7, 13_000, 11_000)

    page = await _list(world)

    assert page == {
        "items": [
            {
                "id": session_id,
                "steveTransactionId": 7,
                "userMappingId": mapping_id,
                "mappingDisplayName": "My card",
                "ocppTag": "04A1B2C3",
                "chargeBoxId": "CP-1",
                "connectorId": 1,
                "startedAt": "2026-03-01T12:07:00.000Z",
                "stoppedAt": "2026-03-01T14:00:00.000Z",
                "status": "completed",
                "isFinal": True,
                "meterValueFrom": 1000,
                "meterValueTo": 13_345,
                "energyWh": 12_345,
                "kwhDelta": "12.345",
                "powerW": None,
                "billing": {"status": "billed", "reason": None, "billedWh": 12_345, "deliveredWh": 4000},
                "slices": 2,
            }
        ],
        "total": 1,
        "skip": 0,
        "limit": 25,
    }


async def test_a_session_that_charges_shows_its_live_register_and_power(world: GatewayWorld) -> None:
    user_id = await world.driver()
    await world.session(user_id, 7)
    await world.session(user_id, 6)
    await _measure(world, 7, 1850, 7400)

    live, fresh = (await _list(world))["items"]

    assert (live["status"], live["isFinal"], live["powerW"]) == ("active", False, 7400)
    assert (live["meterValueTo"], live["energyWh"], live["kwhDelta"]) == (1850, 850, "0.850")
    assert (fresh["energyWh"], fresh["powerW"], fresh["billing"]["status"]) == (0, None, "pending")


async def test_many_billing_events_are_still_one_row_a_transaction(world: GatewayWorld) -> None:
    user_id = await world.driver()
    session_id = await world.session(user_id, 7, **STOPPED)
    await _bill(world, session_id, [2000, 3000, 4000, 13_345], delivered=4, status="billed")

    page = await _list(world)

    assert (page["total"], len(page["items"]), page["items"][0]["slices"]) == (1, 1, 4)


async def test_an_unbelievable_session_is_under_review_and_has_no_energy(world: GatewayWorld) -> None:
    user_id = await world.driver()
    changes = {"stop_wh": 500, "state": "quarantined", "quarantine_reason": "negative_energy"}
    await world.session(user_id, 7, **STOPPED | changes)

    (item,) = (await _list(world))["items"]

    assert (item["status"], item["isFinal"], item["energyWh"], item["kwhDelta"]) == ("under_review", False, None, None)
    assert "negative_energy" not in str(item)


async def test_a_driver_sees_only_their_own_sessions(world: GatewayWorld) -> None:
    stranger = await world.user(email="bob@example.org")
    foreign, nobodys = await world.session(stranger, 1), await world.session(None, 2)
    own = await world.session(await world.driver(), 3)

    page = await _list(world)

    assert ([item["id"] for item in page["items"]], page["total"]) == ([own], 1)
    for session_id in (foreign, nobodys, 999_999, 2**63 - 1):
        response = await world.customer.get(f"{LIST}/{session_id}")
        assert (response.status_code, response.json()["error"]) == (404, "session_not_found")


async def test_nobody_sees_no_session(world: GatewayWorld) -> None:
    for path in (LIST, f"{LIST}/1", f"{LIST}?limit=nonsense"):
        response = await world.customer.get(path)
        assert (response.status_code, response.json()["error"]) == (401, "unauthorized")


async def test_pages_never_repeat_or_skip_sessions_that_start_together(world: GatewayWorld) -> None:
    user_id = await world.driver()
    ids = [await world.session(user_id, number, started_at=START) for number in range(7)]

    seen = [item["id"] for skip in (0, 3, 6) for item in (await _list(world, skip=skip, limit=3))["items"]]

    assert seen == sorted(ids, reverse=True)


@pytest.mark.parametrize(("status", "expected"), [("active", [1]), ("completed", [3, 2]), ("under_review", [4])])
async def test_sessions_are_listed_by_status(world: GatewayWorld, status: str, expected: list[int]) -> None:
    user_id = await world.driver()
    await world.session(user_id, 1)
    await world.session(user_id, 2, **STOPPED)
    await world.session(user_id, 3, **STOPPED | {"state": "stopped"})
    await world.session(user_id, 4, state="quarantined", quarantine_reason="start_value_unreadable", start_wh=None)

    page = await _list(world, status=status)

    assert [item["steveTransactionId"] for item in page["items"]] == expected
    assert page["total"] == len(expected)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"from": "2026-03-02"}, [3, 2]),
        ({"to": "2026-03-01"}, [1]),
        ({"from": "2026-03-02", "to": "2026-03-02"}, [2]),
        ({"from": "2026-03-02T23:59:59.999Z", "to": "2026-03-03T00:00:00Z"}, [3, 2]),
        ({"from": "2026-03-02T01:00:00+01:00", "to": "2026-03-02T23:59:59.998Z"}, []),
        ({"to": "2199-12-31"}, [3, 2, 1]),
    ],
)
async def test_days_are_whole_and_in_utc(world: GatewayWorld, query: dict[str, str], expected: list[int]) -> None:
    user_id = await world.driver()
    starts = {
        1: datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC),
        2: datetime(2026, 3, 2, 23, 59, 59, 999_000, tzinfo=UTC),
        3: datetime(2026, 3, 3, tzinfo=UTC),
    }
    for number, started_at in starts.items():
        await world.session(user_id, number, started_at=started_at)

    page = await _list(world, **query)

    assert [item["steveTransactionId"] for item in page["items"]] == expected


@pytest.mark.parametrize(
    "query",
    [
        "skip=-1",
        "skip=1.5",
        "skip=9223372036854775808",
        "limit=0",
        "limit=101",
        "limit=12abc",
        "from=yesterday",
        "from=2026-02-30",
        "from=0001-01-01T00:00:00%2B10:00",
        "to=9999-12-31",
        "status=final",
    ],
)
async def test_a_query_that_cannot_be_read_is_refused_and_named(world: GatewayWorld, query: str) -> None:
    await world.driver()

    response = await world.customer.get(f"{LIST}?{query}")

    assert (response.status_code, response.json()["error"]) == (422, "invalid_request")
    assert response.json()["issues"][0]["path"] == query.split("=", maxsplit=1)[0]


@pytest.mark.parametrize("session_id", ["12abc", "0", "-1", "9223372036854775808", "1e3"])
async def test_an_id_that_is_no_id_is_refused(world: GatewayWorld, session_id: str) -> None:
    await world.driver()

    assert (await world.customer.get(f"{LIST}/{session_id}")).status_code == 422


async def test_one_session_lists_its_slices_in_the_order_of_the_register(world: GatewayWorld) -> None:
    session_id = await world.session(await world.driver(), 7, **STOPPED)
    await _bill(world, session_id, [5000, 13_345], delivered=1, status="billed")

    detail = (await world.customer.get(f"{LIST}/{session_id}")).json()

    assert detail["session"] == (await _list(world))["items"][0]
    assert detail["meterTimeline"] == [
        {
            "fromWh": 1000,
            "toWh": 5000,
            "kwh": "4.000",
            "startedAt": "2026-03-01T12:00:00.000Z",
            "endedAt": "2026-03-01T12:01:00.000Z",
            "final": False,
            "lagoEventTransactionId": lago_transaction_id(session_id, 1000, 5000),
            "delivered": True,
        },
        {
            "fromWh": 5000,
            "toWh": 13_345,
            "kwh": "8.345",
            "startedAt": "2026-03-01T12:01:00.000Z",
            "endedAt": "2026-03-01T12:02:00.000Z",
            "final": True,
            "lagoEventTransactionId": lago_transaction_id(session_id, 5000, 13_345),
            "delivered": False,
        },
    ]


async def test_a_hundred_sessions_cost_as_many_queries_as_one(world: GatewayWorld) -> None:
    user_id = await world.driver()
    for number in range(30):
        await world.session(user_id, number, **STOPPED)
    statements: list[str] = []
    engine = world.app.state.resources.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    await _list(world, limit=1)
    one = len(statements)
    await _list(world, limit=100)

    assert len(statements) == 2 * one == 6  # the caller's session, the total, the page
