"""Energy whose period closed before Lago got it is billed in the next one, once."""

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import IntegrityError
from tests.support.world import DriverInWorld, World

from polaris_sim.faults import Fault, FaultRule

BATCH = "/events/batch"
_CLOSE = "UPDATE lago_subscriptions SET period_started_at = now() - make_interval(mins => :minutes)"


async def _ledgered(world: World, wh: int) -> DriverInWorld:
    """A session whose events wait."""
    driver = await world.driver()
    await world.charge(driver.card, wh)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    return driver


async def _the_month_turns(world: World, *, minutes_ago: int = 60) -> None:
    """Lago's clock and the mirror are in the next period."""
    world.lago.config.clock.set(datetime.now(UTC))
    world.lago.roll_over()
    await world.execute(_CLOSE, minutes=minutes_ago)


async def test_energy_that_was_never_sent_goes_into_the_open_period_and_says_when_it_was_used(
    either_store: World,
) -> None:
    world = either_store
    driver = await _ledgered(world, 700)
    used = json.loads((await world.row("SELECT body FROM lago_events")).body)["timestamp"]
    await _the_month_turns(world)
    await world.deliver()
    assert world.billed_wh(driver.subscription) == 700
    event = await world.row("SELECT body, status, restamped_at FROM lago_events")
    body = json.loads(event.body)
    assert (event.status, body["properties"]["late"], body["properties"]["usage_at"]) == ("delivered", "true", used)
    assert datetime.now(UTC).timestamp() - float(body["timestamp"]) < 60
    late = await world.row("SELECT payload FROM domain_events WHERE type = 'billing.late_energy'")
    assert late.payload["lateWh"] == 700
    assert await world.reconciliation.check() == []


async def test_as_long_as_lago_has_made_no_invoice_energy_stays_in_its_period(world: World) -> None:
    driver = await _ledgered(world, 700)
    await world.execute(_CLOSE, minutes=5)
    await world.deliver()
    assert (await world.row("SELECT restamped_at, status FROM lago_events")).restamped_at is None
    assert world.billed_wh(driver.subscription) == 700


async def test_what_arrived_before_the_period_closed_is_not_sold_again_although_its_answer_was_lost(
    either_store: World,
) -> None:
    world = either_store
    driver = await _ledgered(world, 700)
    world.lago.config.faults.replace([FaultRule(Fault.RESET_AFTER, path=BATCH)])
    await world.deliver()
    assert world.billed_wh(driver.subscription) == 700
    world.lago.config.faults.replace([])
    before = (await world.row("SELECT body FROM lago_events")).body
    await world.execute(_CLOSE, minutes=60)

    await world.deliver()
    assert (await world.row("SELECT status FROM lago_events")).status == "pending", "it may still be under way"
    await world.execute("UPDATE lago_events SET overdue_since = overdue_since - interval '6 minutes'")
    await world.deliver()
    event = await world.row("SELECT body, status, restamped_at FROM lago_events")
    assert tuple(event) == (before, "delivered", None)
    assert world.lago.totals()["duplicateTransactionIds"] == 0
    assert world.billed_wh(driver.subscription) == 700


async def test_what_was_sent_and_never_arrived_is_stamped_anew_once_its_absence_means_something(world: World) -> None:
    driver = await _ledgered(world, 700)
    world.lago.config.faults.replace([FaultRule(Fault.RESET, path=BATCH)])
    await world.deliver()
    world.lago.config.faults.replace([])
    await _the_month_turns(world)
    await world.deliver()
    assert world.billed_wh(driver.subscription) == 0
    await world.execute("UPDATE lago_events SET overdue_since = overdue_since - interval '6 minutes'")
    await world.deliver()
    assert world.billed_wh(driver.subscription) == 700


async def test_nothing_is_stamped_anew_while_lago_cannot_be_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0)
    await _ledgered(world, 700)
    await world.execute("UPDATE lago_events SET attempts = 1")
    await _the_month_turns(world)
    world.lago.config.faults.replace([FaultRule(Fault.HTML_502)])
    await world.deliver()
    await world.execute("UPDATE lago_events SET overdue_since = overdue_since - interval '6 minutes'")
    await world.deliver()
    event = await world.row("SELECT status, attempts, restamped_at FROM lago_events")
    assert tuple(event) == ("pending", 1, None)


@pytest.mark.parametrize(
    "change",
    [
        "body = '{}'",
        "body = '{}', restamped_at = now()",
        "body = '{}', overdue_since = NULL",
        "body = '{}', restamped_at = now(), overdue_since = NULL, transaction_id = 'another'",
    ],
)
async def test_the_database_lets_no_text_change_otherwise(world: World, change: str) -> None:
    await _ledgered(world, 700)
    with pytest.raises(IntegrityError):
        await world.execute(f"UPDATE lago_events SET {change}")  # noqa: S608 - our own
    await world.execute("UPDATE lago_events SET overdue_since = now()")
    if "restamped_at" not in change or "overdue_since" not in change or "transaction_id" in change:
        with pytest.raises(IntegrityError):
            await world.execute(f"UPDATE lago_events SET {change}")  # noqa: S608


async def test_a_text_that_lago_has_never_changes(world: World) -> None:
    await _ledgered(world, 700)
    await world.deliver()
    await world.execute("UPDATE lago_events SET overdue_since = now()")
    with pytest.raises(IntegrityError):
        await world.execute("UPDATE lago_events SET body = '{}', restamped_at = now(), overdue_since = NULL")


async def test_nothing_is_taken_back_of_energy_that_waits_to_be_stamped_anew(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card, wh=1_000)
    await world.read(transaction, (16, 7_000))
    await world.runs.live_poll()
    await world.ledger.bill_due()
    world.lago.config.faults.replace([FaultRule(Fault.RESET, path=BATCH)])
    await world.deliver()
    world.lago.config.faults.replace([])
    await _the_month_turns(world)
    world.stop(transaction, 5_000)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    await world.deliver()
    assert world.billed_wh(driver.subscription) == 0
    await world.execute("UPDATE lago_events SET overdue_since = overdue_since - interval '6 minutes'")
    await world.deliver()
    assert world.billed_wh(driver.subscription) == 4_000
