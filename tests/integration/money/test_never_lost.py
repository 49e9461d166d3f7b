"""No watt-hour is given up: not for an error, a gap, a late start or somebody else's trouble."""

from datetime import timedelta

import pytest
from tests.support.world import METRIC, NOON, World

from polaris_common.charging.meters import MeterRepository
from polaris_common.charging.samples import MeterValues, Sample
from polaris_common.lago import LagoClient
from polaris_sim.faults import Fault, FaultRule


def _subscribed_to(world: World, customer: str, subscription: str, plan: str) -> None:
    """A subscription that began long ago; or, under a name that runs already, a change of plan."""
    world.lago.subscriptions.create(
        {
            "external_customer_id": customer,
            "external_id": subscription,
            "plan_code": plan,
            "subscription_at": "2020-01-01T00:00:00Z",
        }
    )


def _flat_plan(world: World) -> None:
    world.lago.seed({"plans": [{"name": "Flat", "code": "flat", "interval": "monthly", "amount_cents": 4_900}]})


@pytest.mark.parametrize(
    "fault",
    [
        FaultRule(Fault.ERROR_BEFORE, status=500),
        FaultRule(Fault.ERROR_BEFORE, status=404),
        FaultRule(Fault.ERROR_BEFORE, status=401),
        FaultRule(Fault.HTML_502),
        FaultRule(Fault.RESET),
        FaultRule(Fault.TRUNCATED),
    ],
    ids=lambda rule: f"{rule.fault}-{rule.status}",
)
async def test_a_lago_that_fails_is_no_reason_to_write_a_session_off(world: World, fault: FaultRule) -> None:
    known, new = await world.driver(), await world.driver(subscribed=False)
    world.subscribe(new.customer, new.subscription)
    world.lago.config.faults.replace([fault])
    sessions = [await world.charge(driver.card, 700) for driver in (known, new)]
    await world.mirror.refresh()
    await world.settle()
    assert [(await world.session(each)).billing for each in sessions] == ["billed", "held"]
    assert {row.status for row in await world.rows("SELECT status FROM lago_events")} == {"pending"}

    world.lago.config.faults.replace([])
    await world.mirror.refresh()
    await world.settle()
    assert [(await world.session(each)).billing for each in sessions] == ["billed"] * 2
    assert [world.billed_wh(driver.subscription) for driver in (known, new)] == [700, 700]


async def test_a_transaction_end_sample_ends_nothing_and_the_stop_value_trues_up(world: World) -> None:
    """8 kWh, the first sample after 0.3 of them, and the station says the transaction has ended."""
    driver = await world.driver()
    transaction = await world.start(driver.card, wh=1_000)
    await world.read(transaction, (10, 1_300))
    end = MeterValues(transaction, "CP-1", 1, NOON + timedelta(hours=1), (Sample("8700", context="Transaction.End"),))
    async with world.database.unit_of_work() as uow:
        await MeterRepository(uow).store([end])
    await world.settle()
    session = await world.session(transaction)
    assert (session.state, session.billing) == ("open", "billing")
    assert await world.rows("SELECT id FROM domain_events WHERE type = 'session.stopped'") == []

    world.stop(transaction, 9_000)
    await world.settle()
    session = await world.session(transaction)
    assert (session.state, session.billing, session.billed_wh) == ("settled", "billed", 8_000)
    assert world.billed_wh(driver.subscription) == 8_000
    told = await world.row("SELECT audience, payload FROM domain_events WHERE type = 'session.stopped'")
    assert f"user:{driver.user_id}" in told.audience
    assert told.payload["energyWh"] == 8_000


async def test_energy_that_arrives_while_lago_is_being_told_is_not_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.read(transaction, (15, 4_000))
    send, arriving = LagoClient.send_events, [(31, 7_000), (47, 9_500)]

    async def send_slowly(lago: LagoClient, bodies: list[str]) -> None:
        if arriving:
            await world.read(transaction, arriving.pop(0))
            await world.ledger.bill_due()
        await send(lago, bodies)

    monkeypatch.setattr(LagoClient, "send_events", send_slowly)
    await world.settle()
    await world.settle()
    assert arriving == []
    assert world.billed_wh(driver.subscription) == 8_500
    world.stop(transaction, 10_000)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 9_000


async def test_a_tag_that_inherits_is_billed_to_its_parent_while_it_charges_and_a_switched_off_one_is_not(
    world: World,
) -> None:
    parent, off = await world.driver(), await world.driver(is_active=False)
    for child, above in (("CHILD", parent.card), (off.card, parent.card)):
        world.steve.add_tag(child, max_active_transaction_count=-1, parent_id_tag=above)
    await world.runs.run_if_due()
    inherited, inactive = await world.start("CHILD"), await world.start(off.card, box="CP-2")
    for transaction in (inherited, inactive):
        await world.read(transaction, (15, 4_000))
    await world.settle()
    assert (await world.session(inherited)).tag_mapping_id == parent.mapping_id
    assert (await world.session(inactive)).reason == "unmapped"
    assert (world.billed_wh(parent.subscription), world.billed_wh(off.subscription)) == (3_000, 0)


async def test_a_change_of_plan_is_seen_by_a_running_process(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    _flat_plan(world)
    _subscribed_to(world, driver.customer, driver.subscription, "flat")
    await world.mirror.refresh()
    flat = await world.charge(driver.card, 800)
    await world.settle()
    assert (await world.session(flat)).reason == "flat_rate"

    charge = {"billable_metric_code": METRIC, "charge_model": "standard", "properties": {"amount": "0.2"}}
    dear = {"name": "Dear", "code": "dear", "interval": "monthly", "amount_cents": 9_900, "charges": [charge]}
    world.lago.seed({"plans": [dear]})
    _subscribed_to(world, driver.customer, driver.subscription, "dear")
    await world.mirror.refresh()
    metered = await world.charge(driver.card, 900)
    await world.settle()
    assert (await world.session(metered)).billing == "billed"


async def test_of_several_subscriptions_the_one_that_charges_for_energy_pays(world: World) -> None:
    driver = await world.driver(subscribed=False)
    _flat_plan(world)
    for subscription, plan in (("a-flat", "flat"), ("m-metered", "standard"), ("z-flat", "flat")):
        _subscribed_to(world, driver.customer, subscription, plan)
    await world.mirror.refresh()
    for wh in (700, 800):
        await world.charge(driver.card, wh)
        await world.settle()
    assert world.lago.units("m-metered", METRIC) * 1_000 == 1_500


async def test_an_event_is_sent_however_often_it_has_failed_before(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    await world.execute("UPDATE lago_events SET attempts = 1000000, created_at = now() - interval '90 days'")
    world.lago.config.faults.replace([FaultRule(Fault.ERROR_BEFORE, status=500, path="/events")])
    await world.deliver()
    waiting = await world.row("SELECT status, next_attempt_at < now() + interval '2 minutes' AS soon FROM lago_events")
    assert (waiting.status, waiting.soon) == ("pending", True)
    world.lago.config.faults.replace([])
    await world.deliver()
    assert world.billed_wh(driver.subscription) == 700


async def test_a_fleet_that_slept_for_weeks_bills_every_session_of_those_weeks(world: World) -> None:
    driver = await world.driver()
    running = await world.start(driver.card, box="CP-9", at=NOON - timedelta(days=30))
    await world.runs.run_if_due()
    world.steve.stop_transaction(running, 4_000, NOON - timedelta(days=29))
    for day in range(1, 25):
        transaction = await world.start(driver.card, wh=0, at=NOON - timedelta(days=day))
        world.steve.stop_transaction(transaction, 500, NOON - timedelta(days=day, hours=-1))
    await world.runs.request_run("schedule")
    await world.runs.run_requested()
    await world.ledger.bill_due()
    await world.deliver()
    assert world.billed_wh(driver.subscription) == 3_000 + 24 * 500
