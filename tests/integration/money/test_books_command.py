"""The commands that show the books, and those that put things right."""

import json

from tests.support.command import polaris, polaris_process
from tests.support.lago_store import lose
from tests.support.worker_processes import served
from tests.support.world import World

from polaris_sim.lago import create_app


async def test_verify_prints_the_sums_and_leaves_with_1_as_long_as_books_differ(
    world: World, database_url: str
) -> None:
    driver = await world.driver()
    transaction = await world.charge(driver.card, 700)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    answer = await polaris_process("billing", "verify", database_url=database_url)
    assert answer.status == 1
    waits = f"subscription:{driver.subscription}: 0.700 kWh wait to be sent to Lago."
    assert f"{waits} (steve_tx_{transaction}_100000_100700)" in answer.out
    await world.deliver()
    answer = await polaris("billing", "verify", database_url=database_url)
    assert (answer.status, answer.out.splitlines()[-1]) == (0, "The books balance.")
    assert "accepted by Lago                       0.700 kWh" in answer.out


async def test_the_sums_of_verify_add_up_while_somebody_charges(world: World, database_url: str) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    running = await world.start(driver.card, wh=1_000)
    await world.settle()
    await world.read(running, (15, 4_000))
    await world.settle()
    answer = await polaris("billing", "verify", database_url=database_url)
    sums = [line.removesuffix(" kWh").rsplit(maxsplit=1) for line in answer.out.splitlines()[:-1]]
    assert dict(sums) == {
        "metered, settled sessions": "0.700",
        "not billed, with a reason": "0.000",
        "sold, unsettled sessions": "3.000",
        "in the ledger": "3.700",
        "accepted by Lago": "3.700",
    }


async def test_what_lago_lost_is_named_by_event_and_sent_again_only_when_a_person_says_so(
    world: World, database_url: str
) -> None:
    driver = await world.driver()
    transaction = await world.charge(driver.card, 700)
    await world.settle()
    lose(world.lago)
    name = driver.subscription
    async with served(create_app(world.lago)) as lago_url:
        answer = await polaris("billing", "verify", database_url=database_url, lago_url=lago_url)
        assert answer.status == 1
        assert (
            f"subscription:{name}: Lago has lost 1 event that it accepted, 0.700 kWh; to send the same again: polaris"
            f" billing resend {name}. (steve_tx_{transaction}_100000_100700)"
        ) in answer.out
        again = ("billing", "resend", name, "--reason", "Lago was restored from a backup")
        assert (await polaris(*again, database_url=database_url)).status == 3
        await world.reconciliation.check()
        await world.sender.send_due()
        assert world.billed_wh(name) == 0

        answer = await polaris(*again, database_url=database_url)
        assert (answer.status, answer.out) == (0, "1 events will be sent again.\n")
        await world.sender.send_due()
        answer = await polaris("billing", "verify", database_url=database_url, lago_url=lago_url)
    assert (answer.status, answer.out.splitlines()[-1]) == (0, "The books balance.")
    action = await world.row("SELECT action, subject, actor, reason FROM operator_actions")
    assert (action.action, action.subject) == ("events.resend", f"subscription:{name}")
    assert action.actor.startswith("cli:")
    assert action.reason == "Lago was restored from a backup"


async def test_a_lago_that_cannot_be_asked_is_a_problem_and_not_a_balance(world: World, database_url: str) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    async with served(create_app(world.lago)) as lago_url:
        answer = await polaris("billing", "verify", database_url=database_url, lago_url=lago_url, lago_key="wrong")
    assert (answer.status, answer.out, answer.err) == (1, "", "Lago does not tell its usage: Lago answered 401.\n")


async def test_status_says_what_waits_and_what_is_stopped(world: World, database_url: str) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    answer = await polaris("billing", "status", database_url=database_url)
    assert answer.status == 0, answer.out
    assert json.loads(answer.out)["events"]["delivered_total"] == 1

    world.lago.catalog.update_metric("ev_charging_kwh", {"field_name": "kwh"})
    await world.mirror.refresh()
    await world.charge(driver.card, 300)
    await world.settle()
    await world.execute(
        "INSERT INTO lago_webhook_events (unique_key, body_sha256, webhook_type, payload, status)"
        " VALUES ('k', '', 'invoice.created', '{}', 'dead')"
    )
    answer = await polaris("billing", "status", database_url=database_url)
    told = json.loads(answer.out)
    assert answer.status == 1
    assert told["sending"] == {"allowed": False, "reason": "metric_misconfigured"}
    assert (told["events"]["pending"], told["webhooks"]["dead"]) == (1, 1)
    assert told["components"]["lago_metric"]["error"] == "metric_misconfigured"


async def test_the_command_explains_a_session_and_says_when_there_is_none(world: World, database_url: str) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    answer = await polaris("session", "explain", "1", database_url=database_url)
    assert (answer.status, json.loads(answer.out)["energy"]["soldWh"]) == (0, 700)
    answer = await polaris("session", "explain", "2", database_url=database_url)
    assert (answer.status, answer.err) == (2, "There is no session 2.\n")


async def test_a_webhook_that_was_given_up_is_shown_with_its_reason_and_worked_off_again_when_a_person_says_so(
    world: World, database_url: str
) -> None:
    await world.execute(
        "INSERT INTO lago_webhook_events"
        " (unique_key, body_sha256, webhook_type, object_type, lago_object_id, payload, status, last_error)"
        " VALUES ('k', '', 'invoice.created', 'invoice', 'inv-1', '{}', 'dead', 'RuntimeError: a defect')"
    )
    dead = await world.row("SELECT id FROM lago_webhook_events")
    shown = await polaris("billing", "webhooks", database_url=database_url)
    assert (shown.status, shown.out.splitlines()[1].strip()) == (1, "RuntimeError: a defect")
    assert shown.out.startswith(f"{dead.id}  ")
    assert "invoice.created  invoice inv-1" in shown.out

    unknown = await polaris("billing", "replay", "4711", "--reason", "why not", database_url=database_url)
    assert (unknown.status, "kept for 90 days" in unknown.err) == (3, True)
    again = await polaris("billing", "replay", str(dead.id), "--reason", "repaired", database_url=database_url)
    assert again.status == 0, again.err
    copy = await world.row("SELECT status, lago_object_id FROM lago_webhook_events WHERE replayed_from_id IS NOT NULL")
    assert tuple(copy) == ("pending", "inv-1")
    action = await world.row("SELECT action, subject, reason FROM operator_actions")
    assert tuple(action) == ("webhooks.replay", f"webhook:{dead.id}", "repaired")

    await world.execute("UPDATE lago_webhook_events SET status = 'processed' WHERE status = 'pending'")
    shown = await polaris("billing", "webhooks", database_url=database_url)
    assert (shown.status, shown.out) == (0, "No webhook was given up.\n")
