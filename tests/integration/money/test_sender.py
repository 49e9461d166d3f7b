"""Delivery to Lago: whatever is lost on the way, each watt-hour counts exactly once."""

import random

import pytest
from tests.support.world import World

from polaris_sim.faults import Fault, FaultRule

BATCH = "/events/batch"


async def _waiting(world: World) -> int:
    return int((await world.row("SELECT count(*) AS n FROM lago_events WHERE status <> 'delivered'")).n)


@pytest.mark.parametrize(
    "fault",
    [
        Fault.ERROR_BEFORE,
        Fault.ERROR_AFTER,
        Fault.RESET,
        Fault.RESET_AFTER,
        Fault.HTML_502,
        Fault.TIMEOUT_AFTER,
        Fault.TRUNCATED,
    ],
)
async def test_a_lost_reply_or_a_failure_leads_to_the_same_bytes_again_and_is_counted_once(
    either_store: World, fault: Fault
) -> None:
    world = either_store
    driver = await world.driver()
    await world.charge(driver.card, 700)
    world.lago.config.faults.replace([FaultRule(fault, path=BATCH, times=1, seconds=0.01)])
    await world.runs.live_poll()
    await world.ledger.bill_due()
    before = await world.row("SELECT body FROM lago_events")
    await world.deliver()
    assert world.lago.config.faults.injected == {fault: 1}

    await world.deliver()
    assert await _waiting(world) == 0
    assert await world.row("SELECT body FROM lago_events") == before
    assert world.billed_wh(driver.subscription) == 700
    assert world.lago.totals()["duplicateTransactionIds"] == 0


async def test_a_duplicate_in_a_batch_does_not_hold_back_its_neighbours(world: World) -> None:
    driver = await world.driver()
    for wh in (100, 200, 300):
        await world.charge(driver.card, wh)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    known = await world.row("SELECT body::jsonb AS body FROM lago_events ORDER BY id OFFSET 1 LIMIT 1")
    world.lago.record_event(known.body)
    await world.deliver()
    assert await _waiting(world) == 0
    assert world.billed_wh(driver.subscription) == 600


async def test_an_event_that_lago_refuses_for_good_is_quarantined_alone(world: World) -> None:
    driver = await world.driver()
    for wh in (100, 200, 300):
        await world.charge(driver.card, wh)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    await world.execute("ALTER TABLE lago_events DISABLE TRIGGER USER")
    await world.execute(
        "UPDATE lago_events SET body = jsonb_set(body::jsonb, '{timestamp}', '\"yesterday\"')::text"
        " WHERE id = (SELECT min(id) FROM lago_events)"
    )
    await world.execute("ALTER TABLE lago_events ENABLE TRIGGER USER")
    await world.deliver()
    refused = await world.row("SELECT transaction_id, last_error FROM lago_events WHERE status = 'quarantined'")
    assert "invalid_format" in refused.last_error
    assert world.billed_wh(driver.subscription) == 500


async def test_one_lost_reply_does_not_hold_back_the_batches_behind_it(world: World) -> None:
    driver = await world.driver()
    for _ in range(300):
        await world.charge(driver.card, 10)
    world.lago.config.faults.replace([FaultRule(Fault.RESET, path=BATCH, times=1)])
    await world.settle()
    assert await _waiting(world) <= 100


async def test_a_lago_that_stays_away_is_not_hammered(world: World) -> None:
    driver = await world.driver()
    for _ in range(1_000):
        await world.charge(driver.card, 10)
    world.lago.config.faults.replace([FaultRule(Fault.RESET, path=BATCH)])
    await world.settle()
    assert world.lago.config.faults.injected == {Fault.RESET: 3}


async def test_a_rate_limit_is_obeyed_for_as_long_as_lago_says(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    world.lago.config.faults.replace([FaultRule(Fault.RATE_LIMITED, path=BATCH, times=1, seconds=37)])
    await world.settle()
    wait = await world.row("SELECT extract(epoch FROM next_attempt_at - now()) AS seconds FROM lago_events")
    assert 30 < wait.seconds <= 37


async def test_a_refused_key_is_not_the_events_fault_and_quarantines_nothing(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    world.lago.config.api_key = "rotated"
    await world.settle()
    event = await world.row("SELECT status, last_error FROM lago_events")
    assert event.status == "pending"
    world.lago.config.api_key = "lago-key"
    await world.deliver()
    assert world.billed_wh(driver.subscription) == 700


async def test_a_thousand_events_go_in_batches_of_a_hundred(world: World) -> None:
    driver = await world.driver()
    for _ in range(1_000):
        await world.charge(driver.card, 10)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 10_000
    assert await _waiting(world) == 0


async def test_a_dead_senders_claim_runs_out(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    await world.execute("UPDATE lago_events SET next_attempt_at = now() + interval '10 seconds', attempts = 1")
    await world.sender.send_due()
    assert await _waiting(world) == 1
    await world.deliver()
    assert world.billed_wh(driver.subscription) == 700


async def test_the_driver_hears_how_much_lago_has_accepted(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.read(transaction, (15, 4_000))
    await world.settle()
    world.stop(transaction, 9_000)
    await world.settle()
    events = await world.rows(
        "SELECT audience, payload FROM domain_events WHERE type = 'transaction.billing' ORDER BY created_at"
    )
    assert [(each.payload["billedKwh"], each.payload["isReconciliation"]) for each in events] == [
        ("3.000", False),
        ("8.000", True),
    ]
    assert all(f"user:{driver.user_id}" in each.audience for each in events)


@pytest.mark.parametrize("seed", range(5))
async def test_any_mixture_of_faults_ends_with_exact_books(either_store: World, seed: int) -> None:
    world, dice = either_store, random.Random(seed)
    drivers = [await world.driver() for _ in range(3)]
    expected = dict.fromkeys((driver.subscription for driver in drivers), 0)
    world.lago.config.faults.replace(
        [
            FaultRule(fault, path=BATCH, probability=0.15, seconds=0)
            for fault in (Fault.ERROR_AFTER, Fault.RESET, Fault.RESET_AFTER, Fault.HTML_502, Fault.RATE_LIMITED)
        ],
        seed=seed,
    )
    for _ in range(30):
        driver, wh = dice.choice(drivers), dice.randrange(0, 9_000)
        expected[driver.subscription] += wh
        await world.charge(driver.card, wh)
        if dice.random() < 0.5:
            await world.settle()
    world.lago.config.faults.replace([])
    await world.settle()
    assert {name: world.billed_wh(name) for name in expected} == expected
    assert world.lago.totals()["duplicateTransactionIds"] == 0


async def test_what_was_picked_ahead_is_given_back_when_lago_goes_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billing_bridge.sender.service.BATCHES_AT_ONCE", 1)
    driver = await world.driver()
    for _ in range(450):
        await world.charge(driver.card, 10)
    world.lago.config.faults.replace([FaultRule(Fault.RESET, path=BATCH)])
    await world.settle()
    assert world.lago.config.faults.injected == {Fault.RESET: 3}
    unsent = await world.row("SELECT count(*) AS n FROM lago_events WHERE attempts = 0 AND next_attempt_at <= now()")
    assert unsent.n == 150
    health = await world.row("SELECT status, error FROM component_health WHERE component = 'lago'")
    assert tuple(health) == ("degraded", "unreachable")
    world.lago.config.faults.replace([])
    await world.deliver()
    assert world.billed_wh(driver.subscription) == 4_500
    assert world.lago.totals()["duplicateTransactionIds"] == 0
