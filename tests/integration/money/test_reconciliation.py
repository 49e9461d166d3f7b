"""Delivered ↔ Lago: what differs is named event by event, in both of Lago's stores."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from tests.support.lago_store import corrupt, lose
from tests.support.world import METRIC, NOON, DriverInWorld, World

from billing_bridge.reconciliation.service import Reconciliation
from polaris_common.books.lago_check import LagoCheck
from polaris_common.db import AdvisoryLock, LockName
from polaris_sim.faults import Fault, FaultRule
from polaris_sim.lago import EventStore
from polaris_sim.lago.errors import Invalid


async def _findings(world: World) -> Sequence[Any]:
    return await world.rows(
        "SELECT kind, subject, difference_wh, transaction_ids, event_count FROM reconciliation_findings"
        " WHERE resolved_at IS NULL ORDER BY kind"
    )


async def _found(world: World) -> list[tuple[str, int, list[str]]]:
    return [(row.kind, row.difference_wh, row.transaction_ids) for row in await _findings(world)]


async def _charged(world: World, *energies: int) -> tuple[DriverInWorld, list[str]]:
    """A driver whose sessions of so many Wh Lago has; the events' ids."""
    driver = await world.driver()
    for wh in energies:
        await world.charge(driver.card, wh)
    await world.settle()
    return driver, [
        row.transaction_id for row in await world.rows("SELECT transaction_id FROM lago_events ORDER BY id")
    ]


def _foreign(world: World, driver: DriverInWorld, transaction_id: str, kwh: str, *, later: float = 0) -> None:
    """Somebody sends energy to the driver's subscription."""
    world.lago.record_event(
        {
            "transaction_id": transaction_id,
            "external_subscription_id": driver.subscription,
            "code": METRIC,
            "timestamp": f"{NOON.timestamp() + later:.3f}",
            "properties": {"value": kwh},
        }
    )


async def test_an_event_that_lago_lost_is_named_until_it_is_there_again(either_store: World) -> None:
    world = either_store
    driver, ids = await _charged(world, 700, 300, 200)
    raw = list(world.lago.organization.events.raw)
    lose(world.lago, [ids[1]])
    await world.reconciliation.check()
    await world.reconciliation.check()
    assert await _found(world) == [("missing_in_lago", 300, [ids[1]])]
    notices = await world.rows("SELECT audience, payload FROM domain_events WHERE type = 'billing.books_differ'")
    assert [(each.audience, each.payload["subject"]) for each in notices] == [
        (["operators"], f"subscription:{driver.subscription}")
    ]

    world.lago.organization.events.replace(raw)
    await world.reconciliation.check()
    assert await _found(world) == []


async def test_energy_that_we_never_sent_is_named(either_store: World) -> None:
    world = either_store
    driver, _ = await _charged(world, 700)
    _foreign(world, driver, "somebody-else", "1.500")
    await world.reconciliation.check()
    assert await _found(world) == [("extra_in_lago", -1_500, ["somebody-else"])]


async def test_losses_that_foreign_energy_makes_up_for_are_found_all_the_same(either_store: World) -> None:
    world = either_store
    driver, ids = await _charged(world, 700, 300)
    lose(world.lago)
    _foreign(world, driver, "somebody-else", "1.000")
    await world.reconciliation.check()
    assert await _found(world) == [
        ("extra_in_lago", -1_000, ["somebody-else"]),
        ("missing_in_lago", 1_000, sorted(ids)),
    ]


async def test_an_event_whose_energy_lago_shows_otherwise_is_named(either_store: World) -> None:
    world = either_store
    _, ids = await _charged(world, 700, 300)
    corrupt(world.lago, ids[0], properties={"value": "0.500"})
    await world.reconciliation.check()
    assert await _found(world) == [("value_differs", 200, [ids[0]])]


async def test_the_same_event_at_another_time_is_energy_billed_twice_in_clickhouse(either_store: World) -> None:
    world = either_store
    driver, ids = await _charged(world, 700)
    if world.lago.config.store is EventStore.POSTGRES:
        with pytest.raises(Invalid):
            _foreign(world, driver, ids[0], "0.700", later=60)
        return
    _foreign(world, driver, ids[0], "0.700", later=60)
    await world.reconciliation.check()
    assert await _found(world) == [("extra_in_lago", -700, [ids[0]])]


async def test_an_event_sent_twice_is_one_event(either_store: World) -> None:
    world = either_store
    await _charged(world, 700)
    await world.execute("UPDATE lago_events SET status = 'pending', next_attempt_at = now()")
    await world.sender.send_due()
    assert await world.reconciliation.check() == []
    assert world.lago.totals()["duplicateTransactionIds"] == 0


async def test_events_that_are_there_but_do_not_count_are_told_apart_from_lost_ones(world: World) -> None:
    driver, _ = await _charged(world, 700)
    world.lago.organization.events.series[(driver.subscription, METRIC)].clear()
    await world.reconciliation.check()
    assert await _found(world) == [("usage_differs", 700, [])]


async def test_of_many_events_the_first_are_named_and_all_are_counted(world: World) -> None:
    _, ids = await _charged(world, *[10] * 60)
    lose(world.lago)
    await world.reconciliation.check()
    (finding,) = await _findings(world)
    assert (finding.event_count, finding.difference_wh) == (60, 600)
    assert finding.transaction_ids == sorted(ids)[:50]


async def test_more_events_than_a_page_shows_are_all_looked_at(either_store: World) -> None:
    world = either_store
    _, ids = await _charged(world, *[10] * 250)
    lose(world.lago, [ids[0], ids[120]])
    await world.reconciliation.check()
    assert await _found(world) == [("missing_in_lago", 20, sorted([ids[0], ids[120]]))]


async def test_energy_that_is_delivered_while_the_books_are_read_is_no_difference(
    either_store: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = either_store
    driver, _ = await _charged(world, 700)
    usage = LagoCheck._usage

    async def then_more_arrives(check: LagoCheck, payer: Any) -> Any:
        seen = await usage(check, payer)
        await world.charge(driver.card, 10)
        await world.settle()
        return seen

    monkeypatch.setattr(LagoCheck, "_usage", then_more_arrives)
    assert await world.reconciliation.check() == []
    assert world.billed_wh(driver.subscription) > 700


async def test_an_event_that_lago_has_and_whose_answer_was_lost_is_no_difference(either_store: World) -> None:
    world = either_store
    driver, _ = await _charged(world, 700)
    await world.charge(driver.card, 300)
    world.lago.config.faults.replace([FaultRule(Fault.RESET_AFTER, path="/events/batch", times=1)])
    await world.settle()
    assert (await world.row("SELECT count(*) AS n FROM lago_events WHERE status = 'pending'")).n == 1
    assert await world.reconciliation.check() == []


async def test_what_a_shifting_list_skips_is_asked_for_by_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ids = await _charged(world, 700, 300)
    lose(world.lago, [ids[0]])
    monkeypatch.setattr("polaris_common.books.lago_check.stored", lambda raw: None)
    await world.reconciliation.check()
    assert await _found(world) == [("missing_in_lago", 700, [ids[0]])]


async def test_energy_taken_back_is_no_difference(either_store: World) -> None:
    world = either_store
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.read(transaction, (15, 4_000))
    await world.settle()
    world.stop(transaction, 3_000)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 2_000
    assert await world.reconciliation.check() == []


async def test_the_last_millisecond_of_a_period_belongs_to_it(either_store: World) -> None:
    world = either_store
    driver = await world.driver()
    begin = NOON.replace(day=31, hour=23)
    transaction = await world.start(driver.card, at=begin)
    world.stop(transaction, 3_000, minutes=(begin + timedelta(hours=2) - NOON).total_seconds() / 60)
    await world.settle()
    stamps = await world.rows("SELECT body::json->>'timestamp' AS at FROM lago_events ORDER BY id")
    assert [str(row.at)[-4:] for row in stamps] == [".999", ".000"]
    assert await world.reconciliation.check() == []


async def test_an_event_on_its_way_or_with_a_person_is_not_foreign(either_store: World) -> None:
    world = either_store
    _, ids = await _charged(world, 700, 300, 100)
    lose(world.lago, [ids[2]])
    await world.execute("UPDATE lago_events SET status = 'quarantined' WHERE transaction_id = :id", id=ids[0])
    await world.execute("UPDATE lago_events SET status = 'pending' WHERE transaction_id = :id", id=ids[1])
    await world.reconciliation.check()
    assert await _found(world) == [("missing_in_lago", 100, [ids[2]]), ("quarantined", 700, [])]


async def test_a_lago_that_is_away_is_asked_three_times_and_resolves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0)
    _, ids = await _charged(world, 700)
    for _ in range(6):
        await world.driver()
    lose(world.lago)
    await world.reconciliation.check()
    world.lago.config.faults.replace([FaultRule(Fault.RESET, path="/current_usage")])
    await world.reconciliation.check()
    assert await _found(world) == [("missing_in_lago", 700, ids)]
    assert world.lago.config.faults.injected[Fault.RESET] == 3 * 3


async def _usage_calls(world: World) -> int:
    return sum(count for (_, path, _), count in world.lago.requests.items() if path.endswith("/current_usage"))


async def test_everything_is_compared_once_an_hour_however_many_bridges_there_are(world: World) -> None:
    await _charged(world, 700)
    other = Reconciliation(world.database, world.client, metric_code=METRIC)
    for each in (world.reconciliation, other, world.reconciliation):
        await each.check_due()
    assert await _usage_calls(world) == 1
    await world.execute(
        "UPDATE component_health SET checked_at = now() - interval '61 minutes' WHERE component = 'lago_books'"
    )
    async with AdvisoryLock(world.database, LockName.LAGO_RECONCILIATION):
        await other.check_due()
    assert await _usage_calls(world) == 1
    await other.check_due()
    assert await _usage_calls(world) == 2


async def test_a_comparison_that_lago_did_not_answer_is_made_again_at_the_next_occasion(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0)
    _, ids = await _charged(world, 700)
    lose(world.lago)
    world.lago.config.faults.replace([FaultRule(Fault.RESET, path="/current_usage")])
    await world.reconciliation.check_due()
    assert await _found(world) == []
    world.lago.config.faults.replace([])
    await world.reconciliation.check_due()
    assert await _found(world) == [("missing_in_lago", 700, ids)]


async def test_what_is_about_to_be_invoiced_is_compared_more_often_than_the_rest(world: World) -> None:
    first, _ = await _charged(world, 700)
    await _charged(world, 300)
    await world.reconciliation.check_due()
    lose(world.lago)
    await world.execute(
        "UPDATE lago_subscriptions SET period_ending_at = now() + interval '50 minutes' WHERE external_id = :id",
        id=first.subscription,
    )
    await world.reconciliation.check_due()
    assert [(row.kind, row.subject) for row in await _findings(world)] == [
        ("missing_in_lago", f"subscription:{first.subscription}")
    ]


async def test_a_comparison_of_a_few_declares_nothing_else_resolved(world: World) -> None:
    await _charged(world, 700)
    await world.execute("UPDATE lago_events SET status = 'quarantined'")
    await world.reconciliation.check()
    before = await _found(world)
    await world.reconciliation.check_closing()
    assert await _found(world) == before != []


async def test_subscriptions_without_a_charge_for_energy_are_not_asked_about(world: World) -> None:
    world.lago.catalog.create_plan({"name": "Flat", "code": "flat", "interval": "monthly"})
    await world.driver()
    world.lago.customers.upsert({"external_id": "flat-customer"})
    world.lago.subscriptions.create(
        {"external_customer_id": "flat-customer", "external_id": "flat-1", "plan_code": "flat"}
    )
    await world.mirror.refresh()
    await world.reconciliation.check()
    assert await _usage_calls(world) == 1


async def test_usage_that_does_not_say_its_period_leaves_everything_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _charged(world, 700)
    lose(world.lago)
    await world.reconciliation.check()
    before = await _found(world)

    async def without_period(customer: str, subscription: str) -> dict[str, Any]:
        return {"charges_usage": []}

    monkeypatch.setattr(world.client, "current_usage", without_period)
    await world.reconciliation.check()
    assert await _found(world) == before != []
