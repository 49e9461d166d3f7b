"""Nobody holds a transaction open while another system is asked: a slow Lago or SteVe locks nothing here."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import event
from tests.support.world import World

from polaris_common.charging.operations import NewOperation, OperationLogRepository, Source
from polaris_common.db import Database
from polaris_common.jobs import Jobs
from polaris_common.lago.inbox import InboxRepository
from polaris_common.settings import RedisSettings
from sync_worker.operations.service import RemoteOperations
from sync_worker.readings.service import LiveReadings
from sync_worker.runs.service import SyncRuns
from sync_worker.tags.service import TagSync

ASKED = {
    "steve.test": ("transactions", "transactions/reports", "ocppTags", "chargeBoxes", "operations"),
    "lago.test": (
        "events/batch",
        "events",
        "customers",
        "subscriptions",
        "plans",
        "billable_metrics",
        "invoices",
        "wallets",
    ),
}


class Holders:
    """Which tasks have a connection of the pool in their hands."""

    def __init__(self, database: Database) -> None:
        self._tasks: dict[int, asyncio.Task[Any] | None] = {}
        engine = database.engine.sync_engine
        event.listen(engine, "checkout", lambda _, record, __: self._took(record))
        event.listen(engine, "checkin", lambda _, record: self._tasks.pop(id(record), None))

    def _took(self, record: object) -> None:
        self._tasks[id(record)] = asyncio.current_task()

    def include_me(self) -> bool:
        """Whether this task does."""
        return asyncio.current_task() in self._tasks.values()


async def test_no_transaction_is_open_while_steve_or_lago_is_asked(
    world: World, redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    holders, asked, held = Holders(world.database), set[tuple[str, str]](), list[str]()
    send = httpx.AsyncClient.send

    async def watched(client: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        path = request.url.path.partition("/api/v1/")[2]
        asked.update((request.url.host, part) for part in (path, path.rpartition("/")[0], path.partition("/")[0]))
        if holders.include_me():
            held.append(f"{request.method} {request.url}")
        return await send(client, request, **options)

    monkeypatch.setattr(httpx.AsyncClient, "send", watched)
    await _a_day(world, redis_settings)

    assert held == []
    missing = {(host, path) for host, paths in ASKED.items() for path in paths} - asked
    assert missing == set()


async def _a_day(world: World, redis: RedisSettings) -> None:
    """A bit of everything that asks SteVe or Lago."""
    steve, jobs = world.transactions.steve, Jobs(redis)
    tags = TagSync(world.database, steve)
    runs = SyncRuns(world.database, steve, world.transactions, tags=tags)
    driver, switched_off = await world.driver(), await world.driver(is_active=False, deactivation_reason="operator")
    await world.execute("UPDATE users SET lago_customer_external_id = :customer WHERE id = :id",
                        customer=driver.customer, id=driver.user_id)  # fmt: skip
    world.steve.tag(switched_off.card).expiry_date = None
    running, over = await world.start(driver.card, box="CP-2"), await world.start(driver.card)
    for _ in range(2):
        await runs.request_run("test")
        await runs.run_requested()
        world.stop(over, 4_000)
    await tags.sync_changed_mappings()
    await tags.ensure_meta_tag(driver.user_id)
    await LiveReadings(world.database, steve, jobs, world.transactions.capabilities).fetch()
    async with world.database.unit_of_work() as uow:
        stop = NewOperation("CP-2", "RemoteStopTransaction", {"transactionId": running}, Source.OPERATOR)
        await OperationLogRepository(uow).request(stop)
    await RemoteOperations(world.database, steve, world.transactions.capabilities).run_due()
    await world.steve.settled()

    await world.settle()
    await world.mirror.sweep_due()
    async with world.database.unit_of_work() as uow:
        body = '{"webhook_type":"%s","object_type":"%s","%s":{"lago_id":"x","external_id":"%s"%s}}'
        customer = ("customer.updated", "customer", "customer", "stranger", "")
        subscription = ("subscription.started", "subscription", "subscription", driver.subscription,
                        f',"external_customer_id":"{driver.customer}"')  # fmt: skip
        for told in (customer, subscription):
            await InboxRepository(uow).store((body % told).encode(), {})
    await world.inbox.process_due()
    await world.accounts.resolve_or_create_customer_account(switched_off.customer)
    world.lago.organization.events.series.clear()
    await world.execute("UPDATE lago_events SET delivered_at = now() - interval '1 hour',"
                        " created_at = now() - interval '1 hour'")  # fmt: skip
    await world.reconciliation.check_due()
    await jobs.close()
