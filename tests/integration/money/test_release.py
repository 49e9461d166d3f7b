"""A person releases what was set aside: sessions that nobody could believe, events that Lago refused."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.support.command import polaris
from tests.support.lago_store import lose
from tests.support.world import NOON, DriverInWorld, World

from polaris_common.books.operator_actions import ReasonMissing
from polaris_common.books.redelivery import (
    EventNotFound,
    EventNotQuarantined,
    NothingLost,
    PeriodClosed,
    resend_lost,
    retry_event,
)
from polaris_common.charging.session_release import (
    ReleaseRefused,
    SessionNotFound,
    SessionNotQuarantined,
    release_session,
)
from polaris_common.db import UnitOfWork


async def _do(world: World, action: Callable[[UnitOfWork], Coroutine[Any, Any, Any]]) -> Any:
    async with world.database.unit_of_work() as uow:
        return await action(uow)


async def _release(world: World, session_id: int, stop_wh: int | None = None, reason: str = "looked at it") -> Any:
    return await _do(
        world, lambda uow: release_session(uow, session_id, stop_wh=stop_wh, reason=reason, actor="operator-1")
    )


async def _whole_pass(world: World) -> None:
    """A run that reads all of SteVe's table, as every night."""
    await world.execute("UPDATE sync_schedule SET nightly_pass_on = NULL")
    await world.runs.request_run("test")
    await world.runs.run_requested()


async def _too_fast(world: World) -> tuple[DriverInWorld, int]:
    """A session that claims more than any charger gives."""
    driver = await world.driver()
    transaction = await world.start(driver.card)
    world.stop(transaction, 900_000, minutes=5)
    await world.settle()
    session = await world.session(transaction)
    assert (session.state, session.billing, session.reason) == ("quarantined", "held", "implausible")
    return driver, transaction


async def test_a_session_released_as_measured_is_billed_exactly(either_store: World) -> None:
    world = either_store
    driver, transaction = await _too_fast(world)
    await _release(world, 1)
    await world.settle()
    session = await world.session(transaction)
    assert (session.state, session.billing, session.billed_wh) == ("settled", "billed", 899_000)
    assert world.billed_wh(driver.subscription) == 899_000
    assert await world.reconciliation.check() == []


async def test_a_session_released_with_a_given_stop_is_billed_with_that(world: World) -> None:
    driver, transaction = await _too_fast(world)
    await _release(world, 1, stop_wh=6_000)
    await world.settle()
    assert (await world.session(transaction)).billed_wh == 5_000
    assert world.billed_wh(driver.subscription) == 5_000


async def test_what_steve_still_shows_does_not_undo_the_release(world: World) -> None:
    driver, transaction = await _too_fast(world)
    await _release(world, 1, stop_wh=6_000)
    await _whole_pass(world)
    await world.settle()
    assert (await world.session(transaction)).state == "settled"
    assert world.billed_wh(driver.subscription) == 5_000


async def test_a_zombie_released_as_measured_ends_at_its_last_reading_and_a_late_stop_corrects_it(
    world: World,
) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.read(transaction, (15, 4_000))
    await world.settle()
    await world.execute(
        "UPDATE charging_sessions SET state = 'quarantined', quarantine_reason = 'zombie_silent',"
        " revision = revision + 1"
    )
    await world.settle()
    await _release(world, 1)
    await world.settle()
    session = await world.session(transaction)
    assert (session.billing, session.billed_wh, session.stop_actor) == ("billed", 3_000, "operator")
    assert session.stopped_at == NOON.replace(minute=15)

    world.stop(transaction, 4_500)
    await _whole_pass(world)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 3_500


async def test_the_release_is_on_record_and_operators_see_it(world: World) -> None:
    await _too_fast(world)
    await _release(world, 1, stop_wh=6_000, reason=" the meter was exchanged ")
    action = await world.row("SELECT * FROM operator_actions")
    assert (action.action, action.subject, action.actor) == ("session.release", "session:1", "operator-1")
    assert action.reason == "the meter was exchanged"
    assert action.details["was"] == "over_max_power"
    event = await world.row("SELECT audience, payload FROM domain_events WHERE type = 'session.released'")
    assert event.audience == ["operators"]
    assert (event.payload["was"], event.payload["stopWh"]) == ("over_max_power", 6_000)


async def test_what_cannot_be_released_stays_as_it_is(world: World) -> None:
    driver, transaction = await _too_fast(world)
    await world.charge(driver.card, 700)
    await world.settle()
    with pytest.raises(SessionNotFound):
        await _release(world, 99)
    with pytest.raises(SessionNotQuarantined):
        await _release(world, 2)
    with pytest.raises(ReleaseRefused):
        await _release(world, 1, stop_wh=999)
    with pytest.raises(ReasonMissing):
        await _release(world, 1, reason="  ")
    assert (await world.session(transaction)).state == "quarantined"
    assert (await world.row("SELECT count(*) AS n FROM operator_actions")).n == 0


async def _somebody_waits(world: World) -> None:
    """Until a transaction waits for another one."""
    async with asyncio.timeout(20):
        while not (await world.row("SELECT count(*) AS n FROM pg_locks WHERE NOT granted")).n:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_two_people_release_a_session_once(world: World) -> None:
    await _too_fast(world)
    async with world.database.unit_of_work() as uow:
        await release_session(uow, 1, stop_wh=6_000, reason="looked at it", actor="operator-1")
        await uow.session.flush()
        second = asyncio.create_task(_release(world, 1, stop_wh=7_000))
        await _somebody_waits(world)
    with pytest.raises(SessionNotQuarantined):
        await second
    assert (await world.row("SELECT stop_wh FROM charging_sessions")).stop_wh == 6_000
    assert (await world.row("SELECT count(*) AS n FROM operator_actions")).n == 1


async def _quarantined_event(world: World) -> tuple[DriverInWorld, str]:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.runs.live_poll()
    await world.ledger.bill_due()
    await world.execute("UPDATE lago_events SET status = 'quarantined', last_error = 'refused', attempts = 7")
    await world.execute(
        "INSERT INTO reconciliation_findings (kind, subject, difference_wh)"
        " SELECT 'dead_in_lago', transaction_id, 700 FROM lago_events"
    )
    return driver, (await world.row("SELECT transaction_id FROM lago_events")).transaction_id


async def test_a_quarantined_event_is_sent_again_when_a_person_says_so(either_store: World) -> None:
    world = either_store
    driver, transaction_id = await _quarantined_event(world)
    await world.deliver()
    assert world.billed_wh(driver.subscription) == 0
    await _do(world, lambda uow: retry_event(uow, transaction_id, reason="metric repaired", actor="operator-1"))
    await world.sender.send_due()
    assert world.billed_wh(driver.subscription) == 700
    assert (await world.row("SELECT count(*) AS n FROM reconciliation_findings WHERE resolved_at IS NULL")).n == 0
    action = await world.row("SELECT action, subject FROM operator_actions")
    assert (action.action, action.subject) == ("event.retry", f"event:{transaction_id}")
    requeued = await world.row("SELECT payload FROM domain_events WHERE type = 'billing.events_requeued'")
    assert requeued.payload == {"transactionIds": [transaction_id], "actor": "operator-1"}


async def test_an_event_that_lago_has_already_counts_once_when_it_is_sent_again(either_store: World) -> None:
    world = either_store
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    event = await world.row("SELECT transaction_id FROM lago_events")
    await world.execute("UPDATE lago_events SET status = 'quarantined'")
    await _do(world, lambda uow: retry_event(uow, event.transaction_id, reason="metric repaired", actor="o"))
    await world.sender.send_due()
    assert (await world.row("SELECT status FROM lago_events")).status == "delivered"
    assert world.billed_wh(driver.subscription) == 700
    assert await world.reconciliation.check() == []


async def test_only_what_is_quarantined_can_be_retried(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    event = await world.row("SELECT transaction_id FROM lago_events")
    with pytest.raises(EventNotQuarantined):
        await _do(world, lambda uow: retry_event(uow, event.transaction_id, reason="why", actor="o"))
    with pytest.raises(EventNotFound):
        await _do(world, lambda uow: retry_event(uow, "steve_tx_9_0_1", reason="why", actor="o"))


async def test_what_lago_would_take_and_never_bill_is_not_sent_without_a_word_more(world: World) -> None:
    driver, transaction_id = await _quarantined_event(world)
    await world.execute("UPDATE lago_subscriptions SET period_started_at = timestamptz '2026-04-01 00:00Z'")
    with pytest.raises(PeriodClosed):
        await _do(world, lambda uow: retry_event(uow, transaction_id, reason="why", actor="o"))
    assert (await world.row("SELECT status FROM lago_events")).status == "quarantined"
    assert (await world.row("SELECT count(*) AS n FROM operator_actions")).n == 0
    await _do(world, lambda uow: retry_event(uow, transaction_id, reason="draft", actor="o", although_closed=True))
    await world.sender.send_due()
    assert world.billed_wh(driver.subscription) == 700


async def test_what_lago_lost_comes_back_byte_for_byte(either_store: World) -> None:
    world = either_store
    driver = await world.driver()
    for wh in (700, 300):
        await world.charge(driver.card, wh)
    await world.settle()
    before = await world.rows("SELECT transaction_id, body FROM lago_events ORDER BY id")
    with pytest.raises(NothingLost):
        await _do(world, lambda uow: resend_lost(uow, driver.subscription, reason="why", actor="o"))
    lose(world.lago, [before[0].transaction_id])
    await world.reconciliation.check()
    count = await _do(world, lambda uow: resend_lost(uow, driver.subscription, reason="restored", actor="o"))
    await world.sender.send_due()
    assert (count, world.billed_wh(driver.subscription)) == (1, 1_000)
    assert await world.rows("SELECT transaction_id, body FROM lago_events ORDER BY id") == before
    assert await world.reconciliation.check() == []
    assert world.lago.totals()["duplicateTransactionIds"] == 0


async def test_the_commands_release_and_say_why_not(world: World, database_url: str) -> None:
    await _too_fast(world)

    async def run(*options: str) -> tuple[int, str]:
        answer = await polaris("session", "release", "1", *options, database_url=database_url)
        return answer.status, answer.out or answer.err

    assert await run("--reason", "r") == (2, "Say either --stop-wh or --as-measured.\n")
    assert await run("--reason", "r", "--stop-wh", "10") == (
        3,
        "The session began at 1.000 kWh; it cannot have ended at 0.010 kWh.\n",
    )
    assert await run("--reason", "r", "--stop-wh", "6000") == (
        0,
        "Session 1 is settled with 5.000 kWh and will be billed.\n",
    )
    assert await run("--reason", "r", "--as-measured") == (3, "This session is not set aside.\n")
    answer = await polaris("billing", "retry-event", "nothing", "--reason", "r", database_url=database_url)
    assert (answer.status, answer.err) == (3, "There is no event with this transaction_id.\n")
