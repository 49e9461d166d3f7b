"""A demo that starts again gives SteVe its transactions back under the same ids."""

from datetime import UTC, datetime
from typing import Any

import httpx

from polaris_cli.demo.restore import PLACEHOLDER_BOX, restore_steve
from polaris_sim.steve import SteveSimulator, create_app

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ONE = datetime(2026, 5, 1, 13, tzinfo=UTC)


def session(transaction_id: int, start_wh: int, stop_wh: int) -> dict[str, Any]:
    return {
        "id": transaction_id,
        "charge_box_id": "CB-OLD",
        "connector_id": 2,
        "id_tag": "51A00000",
        "started_at": NOON,
        "start_wh": start_wh,
        "stopped_at": ONE,
        "stop_wh": stop_wh,
        "reason": "Local",
        "actor": "station",
    }


async def test_ids_go_on_where_they_ended_also_after_gaps() -> None:
    steve = SteveSimulator()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(steve))) as http:
        restored = await restore_steve(http, "http://steve", [session(2, 100, 150), session(5, 150, 900)], set())

    assert restored
    assert list(steve.state.transactions) == [2, 5]
    assert steve.state.charge_box(PLACEHOLDER_BOX) is None
    assert not steve.state.active
    stop = steve.transaction(5).stop
    assert stop is not None
    assert (steve.transaction(5).start_value, stop.stop_value, stop.stop_timestamp) == ("150", "900", ONE)
    started = await steve.start_transaction("CB-OLD", 1, "51A00000", start_value=900)
    assert started.transaction_id == 6


async def test_a_car_that_came_first_is_noticed() -> None:
    steve = SteveSimulator()
    steve.add_charge_box("CB-OLD")
    await steve.start_transaction("CB-OLD", 1, "51A00001", start_value=0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(steve))) as http:
        assert not await restore_steve(http, "http://steve", [session(1, 0, 10)], {"CB-OLD"})


async def test_nothing_to_restore_is_fine() -> None:
    async with httpx.AsyncClient() as http:
        assert await restore_steve(http, "http://nowhere.invalid", [], set())
