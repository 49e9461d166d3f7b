"""A database that was restored from a backup sells nothing again that Lago has, and loses nothing that it has not."""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text
from tests.support.sql import WithDatabase
from tests.support.world import METRIC, NOON, World

from billing_bridge.ledger.service import Ledger
from billing_bridge.reconciliation.service import Reconciliation
from billing_bridge.recovery.events import recovered_event
from billing_bridge.recovery.service import Recovery
from billing_bridge.sender.service import Sender
from polaris_cli.embedded import EmbeddedPostgres
from polaris_common.clock import SystemClock
from polaris_common.db import Database
from polaris_common.domain.slicing import SlicePolicy
from polaris_common.jobs import Jobs
from polaris_common.settings import DatabaseSettings, RedisSettings
from polaris_sim.faults import Fault, FaultRule
from sync_worker.runs.service import SyncRuns
from sync_worker.transactions.service import TransactionSync

_LEAVE = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@dataclass
class Installation(WithDatabase):
    """The workers on a copy of a world's database; SteVe and Lago are the world's."""

    runs: SyncRuns
    ledger: Ledger
    sender: Sender
    recovery: Recovery
    reconciliation: Reconciliation

    async def settle(self) -> None:
        """Do all that there is to do."""
        await self.recovery.look()
        await self.runs.live_poll()
        await self.ledger.bill_due()
        await self.execute("UPDATE lago_events SET next_attempt_at = now() WHERE status = 'pending'")
        await self.sender.send_due()


@pytest.fixture
async def back_up(postgres: EmbeddedPostgres) -> AsyncIterator[Callable[[World], Awaitable[Database]]]:
    """Copies a world's database as it is now."""
    copies: list[tuple[str, Database]] = []

    async def copy(world: World) -> Database:
        name = f"restored_{uuid.uuid4().hex[:12]}"
        original = await world.row("SELECT current_database() AS name")
        await world.execute(_LEAVE)
        await world.database.engine.dispose()
        database = Database(
            DatabaseSettings(database_url=postgres.create_database(name, template=original.name)),
            application_name="test",
        )
        copies.append((name, database))
        return database

    yield copy
    for name, database in copies:
        await database.close()
        postgres.drop_database(name)


@asynccontextmanager
async def restored(world: World, database: Database, redis: RedisSettings) -> AsyncIterator[Installation]:
    """What runs after the restore."""
    jobs = Jobs(redis)
    transactions = TransactionSync(database, world.transactions.steve, jobs)
    recovery = Recovery(database, world.client, metric_code=METRIC)
    installation = Installation(
        database=database,
        runs=SyncRuns(database, world.transactions.steve, transactions),
        ledger=Ledger(database, jobs, policy=SlicePolicy(), metric_code=METRIC, gate=recovery),
        sender=Sender(database, world.client, SystemClock(), world.gate),
        recovery=recovery,
        reconciliation=Reconciliation(database, world.client, metric_code=METRIC),
    )
    # The world's sessions are of its own time, and so was its ledger.
    await installation.execute("UPDATE lago_events SET created_at = :noon", noon=NOON)
    yield installation
    await jobs.close()


async def test_energy_sold_since_the_backup_is_not_sold_again(
    either_store: World, back_up: Callable[[World], Awaitable[Database]], redis_settings: RedisSettings
) -> None:
    world = either_store
    driver = await world.driver()
    running = await world.start(driver.card, wh=1_000)
    await world.read(running, (16, 4_000))
    await world.settle()
    copy = await back_up(world)

    await world.read(running, (32, 7_000), (48, 9_500))
    later = await world.start(driver.card, wh=50_000, box="CP-2")
    corrected = await world.start(driver.card, wh=80_000, box="CP-3")
    world.stop(corrected, 86_000, actor="manual")
    await world.settle()
    await world.execute(
        "UPDATE charging_sessions SET state = 'settled', revision = revision + 1 WHERE state = 'stopped'"
    )
    await world.settle()
    world.stop(corrected, 84_500)
    world.stop(later, 53_210)
    await world.runs.request_run("test")
    await world.runs.run_requested()
    await world.settle()
    sold = world.billed_wh(driver.subscription)
    assert sold == 8_500 + 3_210 + 4_500

    async with restored(world, copy, redis_settings) as site:
        await site.settle()
        assert world.billed_wh(driver.subscription) == sold
        world.stop(running, 11_111, minutes=70)
        await site.settle()
        assert world.billed_wh(driver.subscription) == 10_111 + 3_210 + 4_500
        assert await site.reconciliation.check() == []
        notices = await site.rows("SELECT payload FROM domain_events WHERE payload->>'kind' = 'ledger_restored'")
        assert len(notices) == 1
    assert world.lago.totals()["duplicateTransactionIds"] == 0


async def test_energy_that_never_reached_lago_is_sold_after_the_restore_wherever_it_lies(
    world: World, back_up: Callable[[World], Awaitable[Database]], redis_settings: RedisSettings
) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card, wh=1_000)
    await world.settle()
    copy = await back_up(world)
    await world.read(transaction, (16, 4_000))
    await world.ledger.bill_due()
    await world.execute("UPDATE lago_events SET next_attempt_at = 'infinity'")
    await world.read(transaction, (32, 9_000))
    await world.ledger.bill_due()
    await world.sender.send_due()
    assert world.billed_wh(driver.subscription) == 5_000

    async with restored(world, copy, redis_settings) as site:
        world.stop(transaction, 9_700, minutes=40)
        await site.settle()
        assert world.billed_wh(driver.subscription) == 8_700
        assert await site.reconciliation.check() == []


async def test_nothing_is_billed_until_lago_has_been_asked(
    world: World,
    back_up: Callable[[World], Awaitable[Database]],
    redis_settings: RedisSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0)
    driver = await world.driver()
    await world.charge(driver.card, 1_000)
    await world.settle()
    copy = await back_up(world)
    transaction = await world.start(driver.card, wh=0)
    await world.read(transaction, (16, 3_000))
    await world.settle()
    world.stop(transaction, 4_200)
    await world.settle()
    async with restored(world, copy, redis_settings) as site:
        world.lago.config.faults.replace([FaultRule(Fault.HTML_502, path="/events", method="GET")])
        await site.settle()
        assert (await site.row("SELECT count(*) AS n FROM energy_slices")).n == 1
        health = await site.row("SELECT status, error FROM component_health WHERE component = 'ledger_home'")
        assert tuple(health) == ("degraded", "not_confirmed")
        world.lago.config.faults.replace([])
        await site.settle()
        billed = await site.rows("SELECT billed_wh, slice_count, status FROM session_billing ORDER BY session_id")
        assert [tuple(row) for row in billed] == [(1_000, 1, "billed"), (4_200, 2, "billed")]
    assert world.billed_wh(driver.subscription) == 5_200


async def test_events_of_another_steve_with_the_same_ids_are_left_alone(
    world: World, back_up: Callable[[World], Awaitable[Database]], redis_settings: RedisSettings
) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 1_000)
    await world.settle()
    copy = await back_up(world)
    transaction = await world.charge(driver.card, 3_000)
    await world.settle()
    async with restored(world, copy, redis_settings) as site:
        await site.runs.live_poll()
        await site.execute(
            "UPDATE charging_sessions SET charge_box_id = 'ELSEWHERE' WHERE steve_transaction_id = :id", id=transaction
        )
        await site.recovery.look()
        await site.ledger.bill_due()
        events = await site.rows("SELECT status FROM lago_events ORDER BY id")
        assert [event.status for event in events] == ["delivered", "pending"]
        waiting = await site.row("SELECT steve_transaction_id, session_id FROM recovered_events")
        assert tuple(waiting) == (transaction, None)


async def test_a_database_that_stays_where_it_is_asks_once(
    world: World, back_up: Callable[[World], Awaitable[Database]], redis_settings: RedisSettings
) -> None:
    await world.driver()
    async with restored(world, await back_up(world), redis_settings) as site:
        assert not await site.recovery.billing_allowed()
        await site.recovery.look()
        world.lago.config.faults.replace([FaultRule(Fault.RESET)])
        await site.recovery.look()
        assert await site.recovery.billing_allowed()
        assert world.lago.config.faults.injected == {}


async def test_a_lago_that_never_had_an_event_is_asked_once_however_many_subscriptions_it_has(
    world: World, back_up: Callable[[World], Awaitable[Database]], redis_settings: RedisSettings
) -> None:
    for _ in range(5):
        await world.driver()
    async with restored(world, await back_up(world), redis_settings) as site:
        faults = world.lago.config.faults
        faults.replace([FaultRule(Fault.SLOW, seconds=0)])  # counts, and disturbs nothing
        await site.recovery.look()
        assert await site.recovery.billing_allowed()
        assert faults.injected == {Fault.SLOW: 1}


async def test_a_lago_too_large_to_say_whether_it_has_any_is_asked_about_each_subscription(
    world: World,
    back_up: Callable[[World], Awaitable[Database]],
    redis_settings: RedisSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0)
    await world.driver()
    async with restored(world, await back_up(world), redis_settings) as site:
        world.lago.config.faults.replace([FaultRule(Fault.HTML_502, path="/events", method="GET", times=3)])
        await site.recovery.look()
        assert await site.recovery.billing_allowed()


async def test_an_ordinary_role_may_ask_which_database_it_is_in(world: World) -> None:
    await world.execute("CREATE ROLE ordinary_role")
    try:
        async with world.database.unit_of_work() as uow:
            await uow.execute(text("SET LOCAL ROLE ordinary_role"))
            identity = (await uow.execute(text("SELECT database_identity()"))).scalar_one()
        assert len(identity.split("/")) == 3
    finally:
        await world.execute("DROP ROLE ordinary_role")


OURS: dict[str, Any] = {
    "transaction_id": "steve_tx_7_1000_4000_r1",
    "external_subscription_id": "subscription-1",
    "code": METRIC,
    "timestamp": "2026-03-01T12:16:00.000Z",
    "properties": {
        "value": "-3.000",
        "charger_id": "CP-1",
        "connector_id": "1",
        "slice_index": "2",
        "start_timestamp": "2026-03-01T12:00:00Z",
        "stop_timestamp": "2026-03-01T12:16:00Z",
        "final": "true",
    },
}


def test_an_event_of_ours_is_read_back_into_its_slice() -> None:
    event = recovered_event(OURS)
    assert event is not None
    assert (event.steve_transaction_id, event.layer, event.from_wh, event.to_wh) == (7, 1, 1_000, 4_000)
    assert (event.slice_index, event.final, event.late) == (2, True, False)
    assert json.loads(event.body)["timestamp"] == "1772367360.000"
    assert json.loads(event.body)["properties"] == OURS["properties"]


@pytest.mark.parametrize(
    "change",
    [
        {"transaction_id": "invoice-7"},
        {"transaction_id": "steve_tx_7_4000_1000"},
        {"transaction_id": None},
        {"transaction_id": "steve_tx_7_" + "9" * 30 + "_4000"},
        {"external_subscription_id": None},
        {"timestamp": "yesterday"},
        {"properties": None},
        {"properties": {**OURS["properties"], "connector_id": "left"}},
        {"properties": {**OURS["properties"], "start_timestamp": ""}},
        {"properties": {**OURS["properties"], "charger_id": None}},
        {"properties": {**OURS["properties"], "slice_index": None}},
    ],
)
def test_an_event_that_is_none_of_ours_is_no_slice(change: dict[str, Any]) -> None:
    assert recovered_event({**OURS, **change}) is None
