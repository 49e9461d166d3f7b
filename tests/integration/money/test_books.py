"""The three-way books and the explanation of a session."""

import asyncio
import json
import os
import sys

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


async def test_an_event_that_lago_lost_is_found_and_goes_when_it_is_there_again(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    events = world.lago.organization.events.series[(driver.subscription, "ev_charging_kwh")]
    lost = events.pop()
    await world.reconciliation.check()
    await world.reconciliation.check()
    assert await _findings(world) == [("missing_in_lago", f"subscription:{driver.subscription}", 700)]
    notices = await world.rows("SELECT audience FROM domain_events WHERE type = 'billing.books_differ'")
    assert [each.audience for each in notices] == [["operators"]]

    events.append(lost)
    await world.reconciliation.check()
    assert await _findings(world) == []


async def test_energy_in_lago_that_we_never_sent_is_found(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    world.lago.record_event(
        {
            "transaction_id": "somebody-else",
            "external_subscription_id": driver.subscription,
            "code": "ev_charging_kwh",
            "timestamp": str(int(world.lago.config.clock.now().timestamp())),
            "properties": {"value": "1.500"},
        }
    )
    await world.reconciliation.check()
    assert await _findings(world) == [("extra_in_lago", f"subscription:{driver.subscription}", -1_500)]


async def test_an_event_that_waits_too_long_is_found(world: World) -> None:
    driver = await world.driver()
    transaction = await world.charge(driver.card, 700)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    await world.execute("UPDATE lago_events SET created_at = now() - interval '10 minutes'")
    await world.reconciliation.check()
    assert await _findings(world) == [("undelivered", f"steve_tx_{transaction}_100000_100700", 700)]


async def test_an_unreachable_lago_neither_finds_nor_resolves_anything(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    world.lago.organization.events.series[(driver.subscription, "ev_charging_kwh")].clear()
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


async def _polaris(*arguments: str, database_url: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from polaris_cli.main import app; app()",
        *arguments,
        env={**os.environ, "DATABASE_URL": database_url, "LAGO_API_URL": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_command_prints_the_sums_and_leaves_with_1_as_long_as_books_differ(
    world: World, database_url: str
) -> None:
    driver = await world.driver()
    transaction = await world.charge(driver.card, 700)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    status, out, _ = await _polaris("billing", "verify", database_url=database_url)
    assert status == 1
    assert f"undelivered       steve_tx_{transaction}_100000_100700" in out
    await world.deliver()
    status, out, _ = await _polaris("billing", "verify", database_url=database_url)
    assert (status, out.splitlines()[-1]) == (0, "The books balance.")
    assert "accepted by Lago                       0.700 kWh" in out


async def test_the_command_explains_a_session_and_says_when_there_is_none(world: World, database_url: str) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    status, out, _ = await _polaris("session", "explain", "1", database_url=database_url)
    assert (status, json.loads(out)["energy"]["soldWh"]) == (0, 700)
    status, _, err = await _polaris("session", "explain", "2", database_url=database_url)
    assert (status, err) == (2, "There is no session 2.\n")
