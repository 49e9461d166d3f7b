"""No watt-hour is sold twice: whoever restarts, races, fails half-way or comes late."""

import asyncio
import json
import random
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from tests.support.world import METRIC, NOON, World

from billing_bridge.ledger.service import Ledger
from billing_bridge.sender.repository import LagoEventRepository
from polaris_common.charging.meters import MeterRepository
from polaris_common.charging.samples import MeterValues, Sample
from polaris_common.domain.slicing import SlicePolicy
from polaris_common.jobs import Jobs
from polaris_common.settings import RedisSettings


async def _sampled(world: World, transaction: int, minutes: float, *samples: Sample) -> None:
    """One message of meter values."""
    values = MeterValues(transaction, "CP-1", 1, NOON + timedelta(minutes=minutes), samples)
    async with world.database.unit_of_work() as uow:
        await MeterRepository(uow).store([values])


def _flat_rate(world: World, customer: str) -> None:
    """Another subscription of the customer, to a plan that does not charge for energy."""
    world.lago.seed(
        {
            "plans": [{"name": "Flat", "code": "flat", "interval": "monthly", "amount_cents": 4_900}],
            "subscriptions": [
                {
                    "external_customer_id": customer,
                    "external_id": "flat",
                    "plan_code": "flat",
                    "subscription_at": "2020-01-01T00:00:00Z",
                }
            ],
        }
    )


@pytest.mark.parametrize("seed", range(4))
async def test_processes_that_come_and_go_at_any_moment_bill_each_watt_hour_once(
    world: World, redis_settings: RedisSettings, seed: int
) -> None:
    """Long gaps without a reading included: what a process had in its memory never counts."""
    dice, jobs = random.Random(seed), Jobs(redis_settings)
    driver = await world.driver()
    transaction, register, minutes = await world.start(driver.card), 1_000, 0.0
    for _ in range(12):
        minutes, register = minutes + dice.choice([1, 5, 45]), register + dice.randrange(0, 700)
        if dice.random() < 0.7:
            await world.read(transaction, (minutes, register))
        if dice.random() < 0.4:
            world.ledger = Ledger(world.database, jobs, policy=SlicePolicy(), metric_code=METRIC)
        await world.settle()
        assert world.billed_wh(driver.subscription) <= register - 1_000
    world.stop(transaction, register, minutes=minutes + 1)
    await world.settle()
    await world.settle()
    assert world.billed_wh(driver.subscription) == register - 1_000
    assert world.lago.totals()["duplicateTransactionIds"] == 0
    await jobs.close()


async def test_a_session_that_ends_while_its_readings_are_being_billed_is_billed_once(world: World) -> None:
    driver = await world.driver()
    transactions = [await world.start(driver.card, box=f"CP-{n}") for n in range(1, 9)]
    await world.settle()

    async def drive(transaction: int) -> None:
        for step in range(1, 6):
            await world.read(transaction, (step * 16, 1_000 + step * 900))
            await world.ledger.bill_due()
        world.stop(transaction, 6_123, minutes=90)
        await world.runs.live_poll()
        await world.ledger.bill_due()

    await asyncio.gather(*(drive(transaction) for transaction in transactions))
    await world.settle()
    assert world.billed_wh(driver.subscription) == len(transactions) * 5_123
    assert {(await world.session(each)).billing for each in transactions} == {"billed"}


async def test_readings_that_arrive_after_the_stop_neither_reopen_nor_extend_the_session(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.read(transaction, (30, 5_000))
    world.stop(transaction, 9_000)
    await world.settle()
    before = await world.rows("SELECT transaction_id, body FROM lago_events ORDER BY id")

    await world.read(transaction, (45, 7_000), (59, 8_990), (75, 9_400))
    await world.settle()
    session = await world.session(transaction)
    assert (session.state, session.billing, session.billed_wh) == ("settled", "billed", 8_000)
    assert await world.rows("SELECT transaction_id, body FROM lago_events ORDER BY id") == before
    assert world.billed_wh(driver.subscription) == 8_000
    due = "SELECT id FROM charging_sessions JOIN live_meters m USING (steve_transaction_id)"
    assert await world.rows(f"{due} WHERE m.billed_revision < m.revision") == []


@pytest.mark.parametrize("lost", [ConnectionResetError("gone"), OperationalError("UPDATE", {}, Exception("gone"))])
async def test_a_database_that_fails_after_lago_has_accepted_leads_to_no_second_charge(
    either_store: World, monkeypatch: pytest.MonkeyPatch, lost: Exception
) -> None:
    world = either_store
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.runs.live_poll()
    await world.ledger.bill_due()

    async def fail(*_: Any) -> list[int]:
        raise lost

    with monkeypatch.context() as patch:
        patch.setattr(LagoEventRepository, "delivered", fail)
        with pytest.raises(type(lost)):
            await world.deliver()
    assert world.billed_wh(driver.subscription) == 700
    assert (await world.row("SELECT status FROM lago_events")).status == "pending"

    await world.deliver()
    assert (await world.row("SELECT status FROM lago_events")).status == "delivered"
    assert world.billed_wh(driver.subscription) == 700
    assert world.lago.totals()["duplicateTransactionIds"] == 0


async def test_a_tag_below_one_that_names_a_flat_rate_subscription_is_not_billed_by_the_kwh_either(
    world: World,
) -> None:
    member = await world.driver(subscribed=False, lago_subscription_external_id="flat", tag_type="meta")
    _flat_rate(world, member.customer)
    await world.mirror.refresh()
    world.steve.add_tag("CHILD", max_active_transaction_count=-1, parent_id_tag=member.card)
    await world.runs.run_if_due()

    transaction = await world.start("CHILD")
    for minutes in (15, 30, 45):
        await world.read(transaction, (minutes, 1_000 + minutes * 100))
        await world.settle()
    world.stop(transaction, 9_000)
    await world.settle()
    session = await world.session(transaction)
    assert (session.tag_mapping_id, session.billing, session.reason) == (
        member.mapping_id,
        "not_billable",
        "flat_rate",
    )
    assert await world.rows("SELECT * FROM lago_events") == []


@pytest.mark.parametrize("still_charging", [False, True])
async def test_what_was_charged_on_a_flat_rate_is_not_billed_by_the_kwh_after_a_change_of_plan(
    world: World, still_charging: bool
) -> None:
    member = await world.driver(subscribed=False)
    _flat_rate(world, member.customer)
    await world.mirror.refresh()
    began = NOON - timedelta(hours=5)
    transaction = await world.start(member.card, at=began)
    if not still_charging:
        world.steve.stop_transaction(transaction, 9_000, began + timedelta(hours=1))
    await world.settle()
    assert (await world.session(transaction)).reason == "flat_rate"

    charge = {"billable_metric_code": METRIC, "charge_model": "standard", "properties": {"amount": "0.2"}}
    dear = {"name": "Dear", "code": "dear", "interval": "monthly", "amount_cents": 9_900, "charges": [charge]}
    world.lago.seed({"plans": [dear]})
    world.lago.subscriptions.create(
        {"external_customer_id": member.customer, "external_id": "flat", "plan_code": "dear"}
    )
    await world.mirror.refresh()
    if still_charging:
        world.steve.stop_transaction(transaction, 9_000, NOON - timedelta(minutes=1))
    await world.execute("UPDATE charging_sessions SET revision = revision + 1")
    await world.settle()
    session = await world.session(transaction)
    assert (session.state, session.billing, session.reason) == ("settled", "not_billable", "flat_rate")
    assert await world.rows("SELECT * FROM lago_events") == []

    later = await world.charge(member.card, 700)
    await world.settle()
    assert (await world.session(later)).billing == "billed"


async def test_one_session_that_cannot_be_written_holds_back_no_other(world: World) -> None:
    """The database refuses one session's slice, in every attempt; the others of its batch are billed."""
    driver = await world.driver()
    others = [await world.charge(driver.card, 700) for _ in range(7)]
    refused = await world.charge(driver.card, 5_000)
    await world.runs.live_poll()
    await world.execute(
        "CREATE FUNCTION refuse_one() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE EXCEPTION ''refused'' USING ERRCODE = ''integrity_constraint_violation''; END'"
    )
    await world.execute(
        "CREATE TRIGGER refuse_one BEFORE INSERT ON energy_slices FOR EACH ROW WHEN (NEW.to_wh - NEW.from_wh = 5000)"
        " EXECUTE FUNCTION refuse_one()"
    )
    await world.settle()
    assert {(await world.session(each)).billing for each in others} == {"billed"}
    assert world.billed_wh(driver.subscription) == 7 * 700

    await world.execute("DROP TRIGGER refuse_one ON energy_slices")
    await world.settle()
    assert (await world.session(refused)).billing == "billed"
    assert world.billed_wh(driver.subscription) == 7 * 700 + 5_000


async def test_a_stop_value_that_grows_adds_an_event_and_replaces_none(either_store: World) -> None:
    world = either_store
    driver = await world.driver()
    transaction = await world.start(driver.card)
    world.stop(transaction, 2_500, actor="manual")
    await world.settle()
    await world.execute("UPDATE charging_sessions SET settle_after = now() - interval '1 second'")
    await world.settle()
    world.stop(transaction, 9_000)
    await world.runs.request_run("test")
    await world.runs.run_requested()
    await world.settle()
    events = await world.rows("SELECT transaction_id, body FROM lago_events ORDER BY id")
    assert [event.transaction_id for event in events] == [
        f"steve_tx_{transaction}_1000_2500",
        f"steve_tx_{transaction}_2500_9000",
    ]
    assert [json.loads(event.body)["properties"]["value"] for event in events] == ["1.500", "6.500"]
    assert world.billed_wh(driver.subscription) == 8_000


async def test_a_register_that_wobbles_is_counted_once(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    for minutes, wh in ((15, 4_000), (16, 3_960), (31, 4_000), (32, 3_951), (47, 4_010), (62, 7_000)):
        await world.read(transaction, (minutes, wh))
        await world.settle()
    assert world.billed_wh(driver.subscription) <= 6_000
    world.stop(transaction, 7_000, minutes=63)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 6_000


async def test_a_register_sent_by_the_clock_and_by_the_period_in_two_units_is_one_register(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    for quarter, wh in ((15, 4_000), (30, 7_000), (45, 8_500)):
        await _sampled(
            world,
            transaction,
            quarter,
            Sample(str(wh), context="Sample.Periodic", unit="Wh"),
            Sample(f"{wh / 1000:.3f}", context="Sample.Clock", unit="kWh"),
            Sample(str(wh // 3), context="Sample.Clock", phase="L1"),
        )
        await world.settle()
    assert world.billed_wh(driver.subscription) == 7_500
    world.stop(transaction, 9_000)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 8_000
