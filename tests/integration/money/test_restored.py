"""A database from yesterday's backup, in front of a Lago that has today's energy: nothing is billed again."""

from sqlalchemy import text
from tests.support.world import World

from polaris_sim.faults import Fault, FaultRule

_TABLES = ("lago_events", "energy_slices", "session_billing", "charging_sessions", "meter_readings", "live_meters")


async def _restore_backup(world: World) -> None:
    """Everything about sessions is as before any of them, in a database with another number."""
    async with world.database.unit_of_work() as uow:
        await uow.execute(text("SET LOCAL session_replication_role = replica"))
        for table in _TABLES:
            await uow.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - our own names
        await uow.execute(text("UPDATE billing_counters SET value = 1 WHERE name = 'database_oid'"))


async def test_what_lago_has_already_is_not_sold_again_after_a_restore(either_store: World) -> None:
    world = either_store
    driver = await world.driver()
    live = await world.start(driver.card)
    await world.read(live, (15, 4_000), (30, 7_000))
    corrected = await world.start(driver.card, box="CP-2")
    await world.read(corrected, (15, 4_000), (30, 9_000))
    await world.settle()
    world.stop(corrected, 7_000)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 6_000 + 6_000

    await _restore_backup(world)
    await world.ledger.bill_due()  # the sync-worker has not found the sessions again
    assert await world.rows("SELECT * FROM energy_slices") == []
    world.stop(live, 9_123)
    new = await world.charge(driver.card, 500)
    await world.settle()

    assert world.billed_wh(driver.subscription) == 8_123 + 6_000 + 500
    assert [(await world.session(each)).billing for each in (live, corrected, new)] == ["billed"] * 3
    assert await world.reconciliation.check() == []
    notice = await world.row("SELECT payload FROM domain_events WHERE payload->>'kind' = 'ledger_restored'")
    assert notice.payload["detail"] == "taken_over=5 left=0"


async def test_a_database_that_has_only_moved_goes_on_at_once(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    await world.execute("UPDATE billing_counters SET value = 1 WHERE name = 'database_oid'")
    await world.charge(driver.card, 800)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 1_500


async def test_nothing_is_sold_from_a_restored_database_while_lago_cannot_be_asked(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    await _restore_backup(world)
    world.lago.config.faults.replace([FaultRule(Fault.HTML_502)])
    await world.settle()
    assert await world.rows("SELECT * FROM energy_slices") == []
    world.lago.config.faults.replace([])
    await world.settle()
    assert world.billed_wh(driver.subscription) == 700
    assert (await world.row("SELECT count(*) AS n FROM energy_slices")).n == 1


async def test_a_session_that_is_in_lago_alone_stops_billing_no_longer_than_it_takes_to_read_steve(
    world: World,
) -> None:
    driver = await world.driver()
    gone, other = await world.charge(driver.card, 700), await world.charge(driver.card, 800)
    await world.settle()
    await _restore_backup(world)
    hidden = world.steve.state.transactions.pop(gone)
    await world.settle()
    assert (await world.session(other)).billing == "billing"
    await world.runs.run_if_due()
    await world.settle()
    assert (await world.session(other)).billing == "billed"
    assert world.billed_wh(driver.subscription) == 1_500
    notice = await world.row("SELECT payload FROM domain_events WHERE payload->>'kind' = 'ledger_restored'")
    assert (notice.payload["severity"], notice.payload["detail"]) == ("error", "taken_over=1 left=1")
    assert hidden.id == gone
