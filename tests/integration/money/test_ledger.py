"""From readings and stop values to slices: exact, once, and always with a reason."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError
from tests.support.world import NOON, World


async def test_a_session_is_billed_live_and_trued_up_by_the_stop_value(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.read(transaction, (5, 2_000), (15, 4_000), (30, 7_000))
    await world.settle()
    assert world.billed_wh(driver.subscription) == 6_000
    assert (await world.session(transaction)).billing == "billing"

    world.stop(transaction, 9_123)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 8_123
    slices = await world.rows("SELECT from_wh, to_wh, final FROM energy_slices ORDER BY slice_index")
    assert [tuple(each) for each in slices] == [(1_000, 4_000, False), (4_000, 7_000, False), (7_000, 9_123, True)]


async def test_energy_before_the_first_sample_is_billed_even_when_the_station_says_transaction_end(
    world: World,
) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card, wh=1_000)
    await world.read(transaction, (15, 1_300), (30, 9_000))
    world.stop(transaction, 9_000)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 8_000


async def test_samples_that_arrive_before_the_session_is_known_are_billed(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.read(transaction, (15, 4_000))
    await world.ledger.bill_due()
    assert await world.rows("SELECT * FROM energy_slices") == []
    await world.settle()
    assert world.billed_wh(driver.subscription) == 3_000


async def test_shuffled_and_repeated_samples_bill_the_same(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.read(transaction, (30, 7_000), (15, 4_000), (30, 7_000), (15, 4_000))
    await world.read(transaction, (15, 4_000))
    await world.settle()
    world.stop(transaction, 9_000)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 8_000
    assert (await world.row("SELECT count(*) AS n FROM meter_readings")).n == 2


async def test_a_worker_that_starts_again_bills_only_what_is_left(world: World) -> None:
    """A session of 30 kWh, 20 billed live, then the process is new: the rest is 10, not 30."""
    driver = await world.driver()
    transaction = await world.start(driver.card, wh=0)
    await world.read(transaction, (120, 20_000))
    await world.settle()
    assert world.billed_wh(driver.subscription) == 20_000
    await world.read(transaction, (125, 20_500), (180, 30_000))
    world.stop(transaction, 30_000, minutes=180)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 30_000


async def test_several_billers_at_once_cut_each_watt_hour_once(world: World) -> None:
    driver = await world.driver()
    transactions = [await world.charge(driver.card, 100 + number) for number in range(60)]
    await world.runs.live_poll()
    await asyncio.gather(*(world.ledger.bill_due() for _ in range(6)))
    await world.ledger.bill_due()
    await asyncio.gather(*(world.sender.send_due() for _ in range(4)))
    await world.deliver()
    assert world.billed_wh(driver.subscription) == sum(100 + number for number in range(len(transactions)))
    assert world.lago.totals()["duplicateTransactionIds"] == 0


async def test_billing_again_with_nothing_new_makes_no_new_event(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    keys = await world.rows("SELECT transaction_id, body FROM lago_events ORDER BY id")
    await world.execute("UPDATE charging_sessions SET revision = revision + 1")
    await world.settle()
    assert await world.rows("SELECT transaction_id, body FROM lago_events ORDER BY id") == keys


async def test_the_event_of_a_slice_is_all_strings_with_three_decimals_and_its_meter_range(world: World) -> None:
    driver = await world.driver()
    transaction = await world.charge(driver.card, 12_345)
    await world.settle()
    event = world.lago.organization.events.series[(driver.subscription, "ev_charging_kwh")][0]
    assert event.transaction_id == f"steve_tx_{transaction}_100000_112345"
    assert event.properties == {
        "value": "12.345",
        "kwh": "12.345",
        "charger_id": "CP-1",
        "connector_id": "1",
        "session_id": str(transaction),
        "meter_from_wh": "100000",
        "meter_to_wh": "112345",
        "start_timestamp": "2026-03-01T12:00:00.000Z",
        "stop_timestamp": "2026-03-01T13:00:00.000Z",
        "slice_index": "0",
        "final": "true",
    }


async def test_an_event_carries_the_time_of_charging_not_of_sending(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    (body,) = await world.row("SELECT body::json->>'timestamp' AS at FROM lago_events")
    assert float(body) == (NOON + timedelta(hours=1)).timestamp()


async def test_zero_energy_is_settled_with_its_reason_and_sends_nothing(world: World) -> None:
    driver = await world.driver()
    transaction = await world.charge(driver.card, 0)
    await world.settle()
    session = await world.session(transaction)
    assert (session.state, session.billing, session.reason) == ("settled", "not_billable", "zero_energy")
    assert await world.rows("SELECT * FROM lago_events") == []


async def test_a_card_without_a_mapping_is_held_and_billed_once_it_is_mapped(world: World) -> None:
    driver = await world.driver(mapped=False)
    transaction = await world.charge(driver.card, 700)
    await world.settle()
    session = await world.session(transaction)
    assert (session.billing, session.reason, session.user_id) == ("held", "unmapped", None)

    await world.map(driver)
    await world.settle()
    session = await world.session(transaction)
    assert (session.billing, session.user_id) == ("billed", driver.user_id)
    assert world.billed_wh(driver.subscription) == 700


async def test_a_customer_without_a_subscription_is_held_and_billed_once_there_is_one(world: World) -> None:
    driver = await world.driver(subscribed=False)
    await world.mirror.refresh()
    transaction = await world.charge(driver.card, 700)
    await world.settle()
    assert (await world.session(transaction)).reason == "no_subscription"

    world.subscribe(driver.customer, driver.subscription)
    await world.mirror.refresh()
    await world.deliver()
    assert (await world.session(transaction)).billing == "billed"
    assert world.billed_wh(driver.subscription) == 700


async def test_an_unreachable_lago_is_no_missing_subscription(world: World) -> None:
    driver = await world.driver(subscribed=False)
    transaction = await world.charge(driver.card, 700)
    await world.settle()
    assert (await world.session(transaction)).reason == "waiting_lago"


async def test_an_inactive_card_is_not_billed_to_its_parent(world: World) -> None:
    parent = await world.driver()
    child = await world.driver(is_active=False)
    world.steve.add_tag(child.card, max_active_transaction_count=-1, parent_id_tag=parent.card)
    await world.runs.run_if_due()
    transaction = await world.charge(child.card, 700)
    await world.settle()
    assert (await world.session(transaction)).reason == "unmapped"


async def test_what_a_card_charged_before_it_was_switched_off_is_still_billed(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.settle()
    await world.execute(
        "UPDATE tag_mappings SET is_active = false, deactivation_reason = 'reported_lost', deactivated_at = now()"
    )
    world.stop(transaction, 9_000)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 8_000


async def test_a_tag_without_a_mapping_is_billed_to_its_parents(world: World) -> None:
    parent = await world.driver()
    world.steve.add_tag("CHILD", max_active_transaction_count=-1, parent_id_tag=parent.card)
    await world.runs.run_if_due()
    await world.charge("child", 700)
    await world.settle()
    assert world.billed_wh(parent.subscription) == 700


async def test_a_comped_card_is_recorded_as_such(world: World) -> None:
    driver = await world.driver(billing_tier="comped")
    transaction = await world.charge(driver.card, 700)
    await world.settle()
    session = await world.session(transaction)
    assert (session.billing, session.reason) == ("not_billable", "comped")


async def test_a_register_that_went_back_at_the_stop_is_quarantined_and_never_guessed(world: World) -> None:
    driver = await world.driver()
    world.steve.features = world.steve.features.__class__(**{**vars(world.steve.features), "refuses_stops": False})
    transaction = await world.start(driver.card, wh=5_000)
    world.stop(transaction, 4_000)
    await world.settle()
    session = await world.session(transaction)
    assert (session.state, session.quarantine_reason, session.reason) == (
        "quarantined",
        "negative_energy",
        "implausible",
    )
    assert world.billed_wh(driver.subscription) == 0


async def test_more_billed_live_than_the_stop_value_allows_is_taken_back(either_store: World) -> None:
    world = either_store
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.read(transaction, (15, 4_000), (30, 9_000))
    await world.settle()
    world.stop(transaction, 7_500)
    await world.settle()
    session = await world.session(transaction)
    assert (session.billing, session.billed_wh) == ("billed", 6_500)
    assert world.billed_wh(driver.subscription) == 6_500
    last = await world.row("SELECT layer, from_wh, to_wh FROM energy_slices ORDER BY slice_index DESC LIMIT 1")
    assert tuple(last) == (1, 7_500, 9_000)


async def test_energy_taken_back_is_sold_again_when_the_stop_value_grows(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.read(transaction, (30, 9_000))
    await world.settle()
    for stop in (7_000, 8_000, 12_000, 7_500):
        await world.execute(
            "UPDATE charging_sessions SET state = 'settled', stop_wh = :stop, stopped_at = :at,"
            " revision = revision + 1",
            stop=stop,
            at=NOON + timedelta(hours=1),
        )
        await world.ledger.bill_due()
        await world.deliver()
        assert world.billed_wh(driver.subscription) == stop - 1_000
        assert (await world.session(transaction)).billed_wh == stop - 1_000
    assert world.lago.totals()["duplicateTransactionIds"] == 0


async def test_the_database_refuses_to_take_back_energy_that_was_not_sold(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    with pytest.raises(IntegrityError, match="covers energy that layer 0 does not"):
        await world.execute(
            "INSERT INTO energy_slices (session_id, slice_index, layer, from_wh, to_wh, started_at, ended_at, final,"
            " subscription_external_id) SELECT id, 9, 1, 100600, 100800, now(), now(), true, 'x' FROM charging_sessions"
        )


async def test_energy_is_cut_at_the_customers_midnight(world: World) -> None:
    driver = await world.driver()
    await world.execute("UPDATE lago_customers SET timezone = 'America/New_York'")
    transaction = await world.start(driver.card, wh=0, at=NOON)
    world.stop(transaction, 24_000, minutes=24 * 60)
    await world.settle()
    slices = await world.rows("SELECT to_wh, ended_at FROM energy_slices ORDER BY slice_index")
    assert [(each.to_wh, each.ended_at) for each in slices] == [
        (17_000, NOON + timedelta(hours=17)),
        (24_000, NOON + timedelta(hours=24)),
    ]
    before = await world.row("SELECT body::json->>'timestamp' AS at FROM lago_events ORDER BY id LIMIT 1")
    assert float(before.at) == (NOON + timedelta(hours=17)).timestamp() - 0.001
    assert world.billed_wh(driver.subscription) == 24_000


async def test_energy_of_a_closed_period_is_billed_in_the_open_one_and_operators_hear_of_it(world: World) -> None:
    driver = await world.driver()
    late = await world.start(driver.card, wh=0, at=NOON - timedelta(days=40))
    world.steve.stop_transaction(late, 5_000, NOON - timedelta(days=39, hours=20))
    await world.settle()
    event = await world.row("SELECT body::json AS body FROM lago_events")
    assert event.body["properties"]["late"] == "true"
    used = float(event.body["properties"]["usage_at"])
    assert used == (NOON - timedelta(days=39, hours=20)).timestamp()
    assert float(event.body["timestamp"]) > NOON.timestamp()
    assert world.billed_wh(driver.subscription) == 5_000
    notice = await world.row("SELECT audience, payload FROM domain_events WHERE type = 'billing.late_energy'")
    assert (notice.audience, notice.payload["lateWh"]) == (["operators"], 5_000)


async def test_a_flat_rate_member_is_never_billed_by_the_kwh_not_even_while_charging(world: World) -> None:
    driver = await world.driver(subscribed=False, lago_subscription_external_id="flat")
    world.lago.seed(
        {
            "plans": [{"name": "Flat", "code": "flat", "interval": "monthly", "amount_cents": 4_900}],
            "subscriptions": [
                {
                    "external_customer_id": driver.customer,
                    "external_id": "flat",
                    "plan_code": "flat",
                    "subscription_at": "2020-01-01T00:00:00Z",
                }
            ],
        }
    )
    await world.mirror.refresh()
    transaction = await world.start(driver.card)
    await world.read(transaction, (15, 4_000), (30, 7_000))
    await world.settle()
    world.stop(transaction, 9_000)
    await world.settle()
    session = await world.session(transaction)
    assert (session.billing, session.reason) == ("not_billable", "flat_rate")
    assert await world.rows("SELECT * FROM lago_events") == []


async def test_a_subscription_that_ends_while_charging_pays_for_its_part_and_the_rest_waits(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.read(transaction, (30, 5_000))
    await world.settle()
    world.lago.subscriptions.terminate(world.lago.organization.subscriptions[driver.subscription][-1])
    await world.mirror.refresh()
    world.stop(transaction, 9_000)
    await world.settle()
    session = await world.session(transaction)
    assert (session.billing, session.reason, session.billed_wh) == ("held", "no_subscription", 4_000)

    world.subscribe(driver.customer, "successor")
    await world.mirror.refresh()
    await world.deliver()
    assert (await world.session(transaction)).billing == "billed"
    assert world.billed_wh("successor") == 4_000


async def test_a_station_stop_that_adds_energy_after_a_settled_manual_stop_is_billed_on_top(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    world.stop(transaction, 2_500, actor="manual")
    await world.settle()
    await world.execute("UPDATE charging_sessions SET settle_after = now() - interval '1 second'")
    await world.settle()
    assert world.billed_wh(driver.subscription) == 1_500
    world.stop(transaction, 9_000)
    await world.runs.request_run("test")
    await world.runs.run_requested()
    await world.settle()
    assert world.billed_wh(driver.subscription) == 8_000
