"""A subscription that begins while the car charges, and a platform without any."""

from datetime import timedelta

from tests.support.worker_processes import until, workers
from tests.support.world import METRIC, NOON, World


async def test_energy_is_cut_where_another_plan_begins_and_what_was_before_it_is_late(world: World) -> None:
    """The old plan's period is invoiced at the change; its last energy is stamped into the new plan's and marked."""
    driver = await world.driver()
    transaction = await world.start(driver.card, at=NOON - timedelta(hours=1))
    await world.read(transaction, (-30, 3_000))
    await world.settle()
    charge = {"billable_metric_code": METRIC, "charge_model": "standard", "properties": {"amount": "0.2"}}
    dear = {"name": "Dear", "code": "dear", "interval": "monthly", "amount_cents": 9_900, "charges": [charge]}
    world.lago.seed({"plans": [dear]})
    world.lago.subscriptions.create(
        {"external_customer_id": driver.customer, "external_id": driver.subscription, "plan_code": "dear"}
    )
    await world.mirror.refresh()
    await world.read(transaction, (30, 7_000))
    world.stop(transaction, 9_000)
    await world.settle()

    slices = await world.rows(
        "SELECT s.from_wh, s.to_wh, s.late, e.body::json AS event FROM energy_slices s"
        " JOIN lago_events e ON e.slice_id = s.id ORDER BY s.slice_index"
    )
    assert [(each.from_wh, each.to_wh, each.late) for each in slices] == [
        (1_000, 3_000, False),
        (3_000, 5_000, True),
        (5_000, 7_000, False),
        (7_000, 9_000, False),
    ]
    late, first = slices[1].event, slices[2].event
    change = NOON.timestamp()
    assert float(late["properties"]["usage_at"]) == change - 0.001
    assert float(late["timestamp"]) > change
    assert float(first["timestamp"]) == (NOON + timedelta(minutes=30)).timestamp()
    assert {each.event["external_subscription_id"] for each in slices} == {driver.subscription}


async def test_without_a_lago_sessions_are_kept_and_wait_and_the_health_page_says_why(
    world: World, database_url: str, redis_url: str
) -> None:
    driver = await world.driver(subscribed=False)
    transaction = await world.charge(driver.card, 700)
    await world.runs.live_poll()

    async def waits() -> bool:
        return bool((await world.session(transaction)).reason == "waiting_lago")

    async def said() -> bool:
        return len(await world.rows("SELECT 1 FROM component_health WHERE component = 'lago'")) == 1

    async with workers(1, module="billing_bridge", database_url=database_url, redis_url=redis_url) as (bridge,):
        await until(waits)
        await until(said)
        assert await bridge.stop() == 0
    health = await world.row("SELECT status, error FROM component_health WHERE component = 'lago'")
    assert tuple(health) == ("degraded", "not_configured")

    await world.mirror.refresh()
    world.subscribe(driver.customer, driver.subscription)
    await world.mirror.refresh()
    await world.settle()
    assert world.billed_wh(driver.subscription) == 700
