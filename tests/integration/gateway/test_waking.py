"""Whatever a charge box sends makes the sync-worker look at it soon, however long it had been quiet."""

import asyncio

import pytest
from tests.support.gateway import GatewayWorld, meter_values
from tests.support.sql import WithDatabase


@pytest.fixture
async def cadence(world: GatewayWorld) -> WithDatabase:
    """A fleet at rest."""
    sql = WithDatabase(world.database)
    await sql.execute("INSERT INTO charger_cadence (charge_box_id, tier) VALUES ('CP-1', 'dormant')")
    await sql.execute("UPDATE sync_schedule SET tier = 'dormant'")
    return sql


async def _awake(cadence: WithDatabase, charge_box_id: str) -> None:
    """Wait until a charge box is active."""
    query = "SELECT 1 FROM charger_cadence WHERE charge_box_id = :box AND tier = 'active'"
    async with asyncio.timeout(10):
        while not await cadence.rows(query, box=charge_box_id):  # noqa: ASYNC110 - another transaction
            await asyncio.sleep(0.02)


async def test_meter_values_make_a_dormant_charge_box_active(world: GatewayWorld, cadence: WithDatabase) -> None:
    assert (await world.hook("meter-values", meter_values())).status_code == 200
    await _awake(cadence, "CP-1")
    assert (await cadence.row("SELECT tier FROM sync_schedule")).tier == "active"


async def test_a_forged_call_wakes_nobody(world: GatewayWorld, cadence: WithDatabase) -> None:
    for path in ("meter-values", "pre-authorize"):
        assert (await world.hook(path, meter_values(), signature="0" * 64)).status_code == 401
    assert (await world.hook("meter-values", meter_values(chargeBoxId="CP-2"))).status_code == 200
    await _awake(cadence, "CP-2")
    assert (await cadence.row("SELECT tier FROM charger_cadence WHERE charge_box_id = 'CP-1'")).tier == "dormant"
