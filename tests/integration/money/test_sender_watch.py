"""Energy that waits too long for Lago is told once, and its end once; the figures behind it."""

from datetime import timedelta

from tests.support.world import World

from billing_bridge.watch.service import Watch, WatchPolicy
from polaris_common.observability.billing_figures import BillingFigures, billing_figures
from polaris_sim.faults import Fault, FaultRule

POLICY = WatchPolicy(unsent_after=timedelta(minutes=15))


async def _told(world: World) -> list[str]:
    rows = await world.rows(
        "SELECT payload, audience FROM domain_events WHERE type = 'operator.notice' ORDER BY created_at, id"
    )
    assert all(row.audience == ["operators"] for row in rows)
    return [row.payload["kind"] for row in rows]


async def _figures(world: World) -> BillingFigures:
    async with world.database.unit_of_work() as uow:
        return await billing_figures(uow)


async def test_old_energy_is_told_once_by_any_number_of_bridges_and_so_is_its_end(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    bridges = [Watch(world.database, POLICY), Watch(world.database, POLICY)]
    await world.execute("UPDATE lago_events SET created_at = now() - interval '14 minutes'")
    for bridge in bridges:
        await bridge.look()
    assert await _told(world) == []

    await world.execute("UPDATE lago_events SET created_at = now() - interval '16 minutes'")
    for bridge in [*bridges, Watch(world.database, POLICY)]:
        await bridge.look()
    assert await _told(world) == ["lago_events_delayed"]

    await world.deliver()
    for bridge in bridges:
        await bridge.look()
    assert await _told(world) == ["lago_events_delayed", "lago_events_recovered"]


async def test_the_next_trouble_is_told_again(world: World) -> None:
    driver = await world.driver()
    watch = Watch(world.database, POLICY)
    for _ in range(2):
        await world.charge(driver.card, 700)
        await world.runs.live_poll()
        await world.ledger.bill_due()
        await world.execute("UPDATE lago_events SET created_at = now() - interval '1 hour' WHERE status = 'pending'")
        await watch.look()
        await world.deliver()
        await watch.look()
    assert await _told(world) == ["lago_events_delayed", "lago_events_recovered"] * 2


async def test_the_figures_say_how_the_delivery_stands(world: World) -> None:
    assert await _figures(world) == BillingFigures(0, 0, 0.0, 0, 0)
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.charge(driver.card, 300)
    await world.settle()
    await world.charge(driver.card, 200)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    await world.execute("UPDATE lago_events SET created_at = now() - interval '90 seconds' WHERE status = 'pending'")
    found = await _figures(world)
    assert (found.pending, found.quarantined, found.delivered_total) == (1, 0, 2)
    assert 90 <= found.oldest_unsent_seconds < 120


async def test_what_lago_refuses_for_good_is_told_to_operators(world: World) -> None:
    driver = await world.driver()
    for wh in (100, 200, 300):
        await world.charge(driver.card, wh)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    await world.execute("ALTER TABLE lago_events DISABLE TRIGGER USER")
    await world.execute(
        "UPDATE lago_events SET body = jsonb_set(body::jsonb, '{timestamp}', '\"yesterday\"')::text"
        " WHERE id <= (SELECT min(id) + 1 FROM lago_events)"
    )
    await world.execute("ALTER TABLE lago_events ENABLE TRIGGER USER")
    await world.deliver()
    assert await _told(world) == ["lago_event_quarantined"]
    assert (await _figures(world)).quarantined == 2


async def test_a_refused_key_is_named_as_such_on_the_health_page(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    world.lago.config.faults.replace([FaultRule(Fault.ERROR_BEFORE, path="/events/batch", status=401)])
    await world.settle()
    health = await world.row("SELECT error FROM component_health WHERE component = 'lago'")
    assert health.error == "credentials_refused"
