"""The three-way books and the explanation of a session."""

from tests.support.lago_store import lose
from tests.support.world import World

from polaris_common.books.explain import explain_session


async def _findings(world: World) -> list[tuple[str, str, int]]:
    rows = await world.rows(
        "SELECT kind, subject, difference_wh FROM reconciliation_findings WHERE resolved_at IS NULL ORDER BY id"
    )
    return [tuple(row) for row in rows]


async def test_books_that_agree_have_no_findings(either_store: World) -> None:
    world = either_store
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    assert await world.reconciliation.check() == []
    assert await _findings(world) == []


async def test_an_event_that_waits_too_long_is_found(world: World) -> None:
    driver = await world.driver()
    transactions = [await world.charge(driver.card, wh) for wh in (700, 800)]
    await world.runs.live_poll()
    await world.ledger.bill_due()
    await world.execute("UPDATE lago_events SET created_at = now() - interval '10 minutes'")
    await world.reconciliation.check()
    assert await _findings(world) == [("undelivered", f"subscription:{driver.subscription}", 1_500)]
    finding = await world.row("SELECT transaction_ids, event_count FROM reconciliation_findings")
    assert finding.transaction_ids[0] == f"steve_tx_{transactions[0]}_100000_100700"
    assert finding.event_count == 2


async def test_an_unreachable_lago_neither_finds_nor_resolves_anything(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    lose(world.lago)
    await world.reconciliation.check()
    before = await _findings(world)
    world.lago.config.api_key = "rotated"
    await world.reconciliation.check()
    assert await _findings(world) == before != []


async def test_a_session_explains_itself(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.read(transaction, (15, 4_000))
    await world.settle()
    world.stop(transaction, 3_000)
    await world.settle()
    async with world.database.unit_of_work() as uow:
        told = await explain_session(uow, 1)
        assert await explain_session(uow, 999) is None
    assert told is not None
    assert told["energy"] == {"meteredWh": 2_000, "soldWh": 2_000, "deliveredWh": 2_000}
    assert told["decision"]["status"] == "billed"
    assert [reading["registerWh"] for reading in told["readings"]] == [4_000]
    assert [(piece["kwh"], piece["layer"], piece["delivery"]) for piece in told["slices"]] == [
        ("3.000", 0, "delivered"),
        ("-1.000", 1, "delivered"),
    ]
    assert told["events"][0]["type"] == "session.started"
