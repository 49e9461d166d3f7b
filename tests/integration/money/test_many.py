"""Many changes in one run: no statement may need a parameter for each of them (PostgreSQL takes 32,767)."""

from datetime import timedelta

from tests.support.world import NOON, World

SESSIONS = 8_000
BOXES = 40


async def test_eight_thousand_sessions_that_change_at_once_are_stored_ledgered_and_delivered(world: World) -> None:
    driver = await world.driver()
    transactions = []
    for number in range(SESSIONS):
        box, hour = f"CP-{number % BOXES}", number // BOXES
        world.steve.add_charge_box(box)
        began = NOON - timedelta(hours=1 + hour)
        started = await world.steve.start_transaction(box, 1, driver.card, start_value=hour, timestamp=began)
        transactions.append((started.transaction_id, hour, began))
    await world.runs.request_run("test")
    await world.runs.run_requested()
    open_ones = await world.row("SELECT count(*) AS n FROM charging_sessions WHERE stopped_at IS NULL")
    assert open_ones.n == SESSIONS

    for transaction, hour, began in transactions:
        world.steve.stop_transaction(transaction, hour + 1, began + timedelta(minutes=50))
    await world.runs.request_run("test")
    await world.runs.run_requested()
    run = await world.row("SELECT transactions_changed AS changed, error FROM sync_runs ORDER BY id DESC LIMIT 1")
    assert (run.changed, run.error) == (SESSIONS, None)

    await world.ledger.bill_due()
    await world.deliver()
    assert world.billed_wh(driver.subscription) == SESSIONS
