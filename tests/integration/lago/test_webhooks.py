"""Working off the inbox: once each, in any order, again while it fails, and never quietly dropped."""

import asyncio

import httpx
import pytest
from tests.integration.lago.conftest import Post, Town

from billing_bridge.mirror.service import Mirror
from billing_bridge.webhooks import service
from billing_bridge.webhooks.reactions import react as real_react
from billing_bridge.webhooks.refetch import refetch as real_refetch
from billing_bridge.webhooks.repository import Claimed, WebhookRepository
from billing_bridge.webhooks.service import WebhookInbox
from polaris_common.db import UnitOfWork
from polaris_common.lago.inbox import WebhookNotFound
from polaris_sim.faults import Fault, FaultRule


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Reactions fail as long as this list is not empty."""
    switch = [True]

    async def react(uow: UnitOfWork, event: Claimed) -> None:
        await real_react(uow, event)
        if switch:
            raise RuntimeError("a reaction with a defect")

    monkeypatch.setattr(service, "react", react)
    monkeypatch.setattr(service, "backoff_seconds", lambda *_, **__: 60.0)  # it may be next to nothing
    return switch


async def test_a_webhook_delivered_twice_has_one_effect(town: Town, post: Post) -> None:
    town.lago.config.webhooks.duplicate = True
    town.subscribe(town.customer(), "s-1")
    town.terminate("s-1")
    await post.settle()
    assert post.answers == [200] * 6
    assert await post.statuses() == ["processed"] * 3
    assert sorted(await town.notices()) == ["lago_subscription_started", "lago_subscription_terminated"]


async def test_webhooks_out_of_order_end_in_lagos_latest_state(town: Town, post: Post) -> None:
    town.lago.config.webhooks.out_of_order, town.lago.config.webhooks.gather_seconds = True, 0
    mapping = await town.card("c-1")
    town.subscribe(town.customer(email="old@example.com"), "s-1")
    town.terminate("s-1")
    town.subscribe("c-1", "s-2")
    town.customer(email="new@example.com")
    await post.settle()
    assert (await town.row("SELECT email FROM lago_customers")).email == "new@example.com"
    rows = await town.rows("SELECT external_id, status FROM lago_subscriptions ORDER BY external_id")
    assert [tuple(row) for row in rows] == [("s-1", "terminated"), ("s-2", "active")]
    assert (await town.row("SELECT is_active FROM tag_mappings WHERE id = :id", id=mapping)).is_active


async def test_what_the_webhook_says_is_not_believed_over_what_lago_shows(town: Town, post: Post) -> None:
    mapping = await town.card("c-1")
    town.subscribe(town.customer(), "s-1")
    await post.settle()
    stale = {"lago_id": "x", "external_id": "s-1", "external_customer_id": "c-1", "status": "terminated"}
    await post.send("subscription.terminated", "subscription", stale)
    assert (await town.row("SELECT is_active FROM tag_mappings WHERE id = :id", id=mapping)).is_active


async def test_a_failing_webhook_is_tried_again_and_has_no_half_effect(
    town: Town, post: Post, broken: list[bool]
) -> None:
    town.subscribe(town.customer(), "s-1")
    await post.settle()
    waiting = await town.rows("SELECT status, attempts, last_error, next_attempt_at > now() AS later"
                              " FROM lago_webhook_events")  # fmt: skip
    assert {tuple(row) for row in waiting} == {("pending", 1, "RuntimeError: a reaction with a defect", True)}
    assert await town.notices() == []
    broken.clear()
    await post.work()
    assert await post.statuses() == ["processed", "processed"]
    assert await town.notices() == ["lago_subscription_started"]


async def test_a_failing_webhook_does_not_hold_back_the_others(town: Town, post: Post) -> None:
    await post.send("customer.updated", "customer", {"lago_id": "without its external id"})
    town.subscribe(town.customer(), "s-1")
    await post.settle()
    assert sorted(await post.statuses()) == ["dead", "processed", "processed"]


async def test_what_keeps_failing_becomes_a_dead_letter_that_operators_see(
    town: Town, post: Post, broken: list[bool]
) -> None:
    town.customer()
    await post.arrive()
    for attempt in range(service.MAX_ATTEMPTS):
        assert await post.statuses() == ["pending"], attempt
        await post.work()
    assert await post.statuses() == ["dead"]
    assert await town.health("lago_webhooks") == "dead_letters"
    assert await town.notices() == ["lago_webhook_dispatch_disabled"]


async def test_operators_hear_of_failures_before_anything_is_dead_and_of_the_recovery(
    town: Town, post: Post, broken: list[bool]
) -> None:
    for name in ("c-1", "c-2", "c-3", "c-4"):
        town.customer(name)
    await post.settle()
    assert await town.health("lago_webhooks") is None
    await post.work()
    assert await town.health("lago_webhooks") == "failing"
    assert "processed" not in await post.statuses()
    broken.clear()
    await post.work()
    assert await town.health("lago_webhooks") is None
    assert await town.notices() == ["lago_webhook_dispatch_disabled", "lago_webhook_recovered"]


async def test_while_lago_is_away_webhooks_wait_and_none_dies_of_it(
    town: Town, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0)
    town.customer(name="Ada")
    await post.arrive()
    for problem in (FaultRule(Fault.HTML_502), FaultRule(Fault.RESET), FaultRule(Fault.RATE_LIMITED, seconds=0)):
        town.lago.config.faults.replace([problem])
        for _ in range(service.MAX_ATTEMPTS):
            await post.work()
    waiting = await town.row("SELECT status, attempts, processed_at FROM lago_webhook_events")
    assert tuple(waiting) == ("pending", 0, None)
    town.lago.config.faults.replace([])
    await post.work()
    assert await post.statuses() == ["processed"]


async def test_a_worker_that_dies_over_one_webhook_each_time_leaves_it_dead_in_the_end(town: Town, post: Post) -> None:
    town.customer()
    await post.arrive()
    await town.execute("UPDATE lago_webhook_events SET attempts = 8")
    await post.work()
    dead = await town.row("SELECT status, last_error FROM lago_webhook_events")
    assert tuple(dead) == ("dead", "never finished")


async def test_a_dead_workers_claim_runs_out(town: Town, post: Post) -> None:
    town.customer()
    await post.arrive()
    async with town.database.unit_of_work() as uow:
        assert len(await WebhookRepository(uow).claim(10)) == 1
    await town.inbox.process_due()
    assert await post.statuses() == ["pending"]
    await post.work()
    assert await post.statuses() == ["processed"]


async def test_two_bridges_side_by_side_do_each_webhook_once(town: Town, post: Post) -> None:
    for number in range(12):
        town.subscribe(town.customer(f"c-{number}"), f"s-{number}")
    await post.arrive()
    other = WebhookInbox(town.database, town.mirror, town.gate)
    await asyncio.gather(town.inbox.process_due(), other.process_due())
    assert await post.statuses() == ["processed"] * 24
    assert await town.notices() == ["lago_subscription_started"] * 12


async def test_a_webhook_that_another_finished_meanwhile_has_no_second_effect(
    town: Town, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.subscribe(town.customer(), "s-1")
    await post.arrive()

    async def slowly(mirror: Mirror, event: Claimed) -> bool:
        answer = await real_refetch(mirror, event)
        await town.execute("UPDATE lago_webhook_events SET status = 'processed', processed_at = now()")
        return answer

    monkeypatch.setattr(service, "refetch", slowly)
    await post.work()
    assert await town.notices() == []


async def test_a_replay_is_a_copy_that_is_worked_through(town: Town, post: Post, broken: list[bool]) -> None:
    town.subscribe(town.customer(), "s-1")
    await post.arrive()
    for _ in range(service.MAX_ATTEMPTS):
        await post.work()
    assert await post.statuses() == ["dead", "dead"]
    still_dead = [await town.inbox.replay(row.id) for row in await town.rows("SELECT id FROM lago_webhook_events")]
    assert [await town.inbox.status_of(copy) for copy in still_dead] == ["pending", "pending"]
    broken.clear()
    dead = await town.rows("SELECT id FROM lago_webhook_events WHERE status = 'dead' ORDER BY id")
    copies = [await town.inbox.replay(row.id) for row in dead]
    assert [await town.inbox.status_of(copy) for copy in copies] == ["processed", "processed"]
    origins = await town.rows("SELECT replayed_from_id FROM lago_webhook_events WHERE id = ANY(:ids)", ids=copies)
    assert {row.replayed_from_id for row in origins} == {row.id for row in dead}
    await town.execute("DELETE FROM lago_webhook_events WHERE id = ANY(:ids)", ids=still_dead)
    await town.inbox.replay(copies[0])
    assert await town.health("lago_webhooks") is None


async def test_there_is_no_replay_of_what_never_came(town: Town) -> None:
    with pytest.raises(WebhookNotFound):
        await town.inbox.replay(7)


async def test_a_database_that_goes_away_loses_nothing(town: Town, post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    town.customer()
    await post.arrive()

    async def react(*_: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(service, "react", react)
    with pytest.raises(OSError):  # noqa: PT011 - whatever kind of outage it is
        await post.work()
    assert await post.statuses() == ["pending"]
    monkeypatch.setattr(service, "react", real_react)
    await post.work()
    assert await post.statuses() == ["processed"]


async def test_an_outage_met_by_one_webhook_is_told_once_the_others_have_ended(
    town: Town, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.customer()
    town.customer("ben")
    await post.arrive()
    lost = asyncio.Event()

    async def react(uow: UnitOfWork, event: Claimed) -> None:
        if not lost.is_set():
            lost.set()
            raise ConnectionResetError
        await asyncio.sleep(0.2)  # longer than the failure needs to be known
        await real_react(uow, event)

    monkeypatch.setattr(service, "react", react)
    with pytest.raises(OSError):  # noqa: PT011 - whatever kind of outage it is
        await post.work()
    assert sorted(await post.statuses()) == ["pending", "processed"]


async def test_lago_is_answered_before_anything_is_worked_off(town: Town, post: Post) -> None:
    town.lago.config.faults.replace([FaultRule(Fault.RESET)])
    town.customer()
    await post.arrive()
    assert (post.answers, await post.statuses()) == ([httpx.codes.OK], ["pending"])
