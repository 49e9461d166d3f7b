"""Energy whose billing period is about to close goes first; what missed it is told."""

from datetime import timedelta

from tests.support.world import DriverInWorld, World

from billing_bridge.watch.service import Watch, WatchPolicy
from polaris_sim.faults import Fault, FaultRule

BATCH = "/events/batch"


def _watch(world: World) -> Watch:
    return Watch(world.database, WatchPolicy(close_margin=timedelta(hours=1)))


async def _ledgered(world: World, driver: DriverInWorld, *energies: int) -> None:
    for wh in energies:
        await world.charge(driver.card, wh)
    await world.runs.live_poll()
    await world.ledger.bill_due()


async def _closes(world: World, driver: DriverInWorld, minutes: float) -> None:
    await world.execute(
        "UPDATE lago_subscriptions SET period_ending_at = now() + make_interval(secs => :seconds)"
        " WHERE external_id = :id",
        seconds=minutes * 60,
        id=driver.subscription,
    )


async def test_the_energy_of_a_period_that_closes_goes_before_a_backlog(world: World) -> None:
    patient, hurried = await world.driver(), await world.driver()
    await _ledgered(world, patient, *[10] * 150)
    await _ledgered(world, hurried, 700)
    await _closes(world, hurried, 50)
    await _watch(world).look()
    world.lago.config.faults.replace(
        [FaultRule(Fault.SLOW, path=BATCH, times=1, seconds=0), FaultRule(Fault.RESET, path=BATCH)]
    )
    await world.sender.send_due()
    assert world.billed_wh(hurried.subscription) == 700
    assert world.billed_wh(patient.subscription) == 990


async def test_a_period_that_closes_later_changes_nothing(world: World) -> None:
    driver = await world.driver()
    await _ledgered(world, driver, 700)
    await _closes(world, driver, 70)
    await _watch(world).look()
    assert not (await world.row("SELECT urgent FROM lago_events")).urgent


async def test_back_off_ends_when_the_period_is_about_to_close(world: World) -> None:
    driver = await world.driver()
    await _ledgered(world, driver, 700)
    await world.execute("UPDATE lago_events SET next_attempt_at = now() + interval '55 seconds', attempts = 8")
    await world.sender.send_due()
    assert world.billed_wh(driver.subscription) == 0
    await _closes(world, driver, 30)
    await _watch(world).look()
    await world.sender.send_due()
    assert world.billed_wh(driver.subscription) == 700


async def test_what_another_sender_holds_is_not_taken_from_it(world: World) -> None:
    driver = await world.driver()
    await _ledgered(world, driver, 700)
    await world.execute("UPDATE lago_events SET next_attempt_at = now() + interval '10 seconds', attempts = 1")
    await _closes(world, driver, 30)
    await _watch(world).look()
    await world.sender.send_due()
    assert world.billed_wh(driver.subscription) == 0


async def test_urgent_energy_waits_little_unless_lago_asks_for_more(world: World) -> None:
    driver = await world.driver()
    await _ledgered(world, driver, 700)
    await _closes(world, driver, 30)
    await _watch(world).look()
    world.lago.config.faults.replace([FaultRule(Fault.RESET, path=BATCH)])
    wait = "SELECT extract(epoch FROM next_attempt_at - now()) AS seconds FROM lago_events"
    for _ in range(12):
        await world.execute("UPDATE lago_events SET next_attempt_at = now(), attempts = 20")
        await world.sender.send_due()
        assert (await world.row(wait)).seconds <= 5
    world.lago.config.faults.replace([FaultRule(Fault.RATE_LIMITED, path=BATCH, seconds=37)])
    await world.deliver()
    assert (await world.row(wait)).seconds > 30


async def _told(world: World) -> list[tuple[str, str]]:
    rows = await world.rows("SELECT payload FROM domain_events WHERE type = 'operator.notice' ORDER BY created_at, id")
    return [(row.payload["kind"], row.payload["sourceId"]) for row in rows]


async def test_energy_that_missed_its_period_is_told_once_however_many_look(world: World) -> None:
    driver = await world.driver()
    await _ledgered(world, driver, 700)
    await _watch(world).look()
    assert await _told(world) == []
    await world.execute("UPDATE lago_subscriptions SET period_started_at = timestamptz '2026-04-01 00:00Z'")
    for _ in range(3):
        await _watch(world).look()
    assert await _told(world) == [("lago_period_closed_unsent", driver.subscription)]

    await world.deliver()
    await _watch(world).look()
    assert (await world.row("SELECT count(*) AS n FROM billing_alerts")).n == 0


async def test_a_period_that_ended_since_lago_told_us_counts_as_closed(world: World) -> None:
    driver = await world.driver()
    await _ledgered(world, driver, 700)
    await world.execute(
        "UPDATE lago_subscriptions SET period_ending_at = now() - interval '1 minute',"
        " mirrored_at = now() - interval '2 minutes'"
    )
    await _watch(world).look()
    assert await _told(world) == [("lago_period_closed_unsent", driver.subscription)]
