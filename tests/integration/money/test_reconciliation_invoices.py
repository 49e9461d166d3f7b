"""Ledger ↔ invoices: what Lago has put on a final invoice against the ledger of its period."""

from datetime import datetime, timedelta

from tests.support.lago_store import lose
from tests.support.world import METRIC, NOON, DriverInWorld, World

APRIL = datetime(2026, 4, 1, 0, 15, tzinfo=NOON.tzinfo)


async def _invoiced(world: World) -> None:
    """March ends, Lago makes its invoices, and we mirror them."""
    world.lago.config.clock.set(APRIL)
    world.lago.roll_over()
    await world.mirror.refresh()
    await world.mirror.sweep_due()


async def _march(world: World, *energies: int) -> DriverInWorld:
    driver = await world.driver()
    for wh in energies:
        await world.charge(driver.card, wh)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    return driver


async def _found(world: World) -> list[tuple[str, int]]:
    rows = await world.rows(
        "SELECT kind, difference_wh FROM reconciliation_findings WHERE kind = 'invoice_differs' AND resolved_at IS NULL"
    )
    return [(row.kind, row.difference_wh) for row in rows]


async def test_an_invoice_over_what_the_ledger_has_is_no_difference(either_store: World) -> None:
    world = either_store
    await _march(world, 700, 300)
    await world.deliver()
    await _invoiced(world)
    fee = await world.row("SELECT sum(units) AS kwh FROM lago_fees WHERE item_code = :code", code=METRIC)
    assert fee.kwh == 1
    assert await world.reconciliation.check() == []


async def test_energy_that_came_after_the_invoice_is_missing_on_it(world: World) -> None:
    driver = await _march(world, 700)
    await world.deliver()
    await world.charge(driver.card, 300)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    await _invoiced(world)
    waiting = await world.row("SELECT body FROM lago_events WHERE status = 'pending'")
    await world.client.send_events([waiting.body])  # as it is, which our sender does not do
    await world.execute("UPDATE lago_events SET status = 'delivered', delivered_at = now()")
    await world.reconciliation.check()
    finding = await world.row("SELECT * FROM reconciliation_findings WHERE resolved_at IS NULL")
    invoice = await world.row("SELECT lago_id FROM lago_invoices")
    assert (finding.kind, finding.difference_wh) == ("invoice_differs", 300)
    assert finding.subject == f"invoice:{invoice.lago_id}:{driver.subscription}"


async def test_an_invoice_without_any_energy_is_compared_too(world: World) -> None:
    await _march(world, 700)
    await world.deliver()
    lose(world.lago)
    await _invoiced(world)
    assert (await world.row("SELECT count(*) AS n FROM lago_fees WHERE item_code = :code", code=METRIC)).n == 0
    await world.reconciliation.check()
    assert await _found(world) == [("invoice_differs", 700)]


async def test_an_invoice_that_bills_foreign_energy_is_found(world: World) -> None:
    driver = await _march(world, 700)
    await world.deliver()
    world.lago.record_event(
        {
            "transaction_id": "somebody-else",
            "external_subscription_id": driver.subscription,
            "code": METRIC,
            "timestamp": str(int(NOON.timestamp())),
            "properties": {"value": "1.500"},
        }
    )
    await _invoiced(world)
    await world.reconciliation.check()
    assert await _found(world) == [("invoice_differs", -1_500)]


async def test_late_energy_is_not_missed_on_the_invoice_of_the_time_it_was_used(world: World) -> None:
    driver = await _march(world, 700)
    await world.deliver()
    await _invoiced(world)
    await world.charge(driver.card, 300)
    await world.settle()
    late = await world.row("SELECT late, ended_at FROM energy_slices ORDER BY id DESC LIMIT 1")
    assert (late.late, late.ended_at.month) == (True, 3)
    await world.reconciliation.check()
    assert await _found(world) == []


async def test_a_void_invoice_is_not_compared_any_more(world: World) -> None:
    await _march(world, 700)
    await _invoiced(world)
    await world.reconciliation.check()
    assert await _found(world) == [("invoice_differs", 700)]
    (lago_id,) = world.lago.organization.invoices
    world.lago.invoices.void(lago_id, {})
    await world.mirror.refetch_invoice(lago_id)
    await world.reconciliation.check()
    assert await _found(world) == []


async def test_invoices_of_the_time_before_the_ledger_are_others_business(world: World) -> None:
    driver = await world.driver()
    world.lago.record_event(
        {
            "transaction_id": "predecessor",
            "external_subscription_id": driver.subscription,
            "code": METRIC,
            "timestamp": str(int(NOON.timestamp())),
            "properties": {"value": "9.000"},
        }
    )
    await _invoiced(world)
    transaction = await world.start(driver.card, at=APRIL + timedelta(hours=1))
    world.stop(transaction, 2_000, minutes=(APRIL + timedelta(hours=2) - NOON).total_seconds() / 60)
    await world.settle()
    assert await world.reconciliation.check() == []


async def test_an_invoice_that_cannot_be_read_disturbs_no_other(world: World) -> None:
    await _march(world, 700)
    await _invoiced(world)
    await world.execute(
        "INSERT INTO lago_invoices (lago_id, status, invoice_type, payment_overdue, payload, fees_mirrored_at) VALUES"
        " ('odd-1', 'finalized', 'subscription', false, '{\"billing_periods\": 7}', now()),"
        " ('odd-2', 'finalized', 'subscription', false, '{\"billing_periods\": [{\"x\": 1}]}', now())"
    )
    await world.reconciliation.check()
    assert await _found(world) == [("invoice_differs", 700)]
