"""``python -m billing_bridge``."""

from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from billing_bridge.ledger.service import HELD_AGAIN_AFTER_SECONDS, Ledger
from billing_bridge.mirror.service import Mirror
from billing_bridge.reconciliation.service import Reconciliation
from billing_bridge.recovery.service import Recovery
from billing_bridge.safety.service import SafetyGate
from billing_bridge.sender.service import Sender
from billing_bridge.settings import BillingBridgeSettings
from billing_bridge.watch.service import Watch
from billing_bridge.webhooks.service import WebhookInbox
from polaris_common.clock import SystemClock
from polaris_common.db import Database
from polaris_common.db.partitions import drop_old_events, ensure_partitions
from polaris_common.events.relay import EventRelay
from polaris_common.jobs import Jobs, JobWorker, Queue
from polaris_common.jobs.queue import JobName
from polaris_common.lago import LagoClient, RequestBudget
from polaris_common.observability import configure_logging
from polaris_common.observability.figures import MONEY
from polaris_common.observability.health import Component, report
from polaris_common.observability.metrics import DatabaseFigures, metrics_server
from polaris_common.process import every, require_database, run, run_until_stopped
from polaris_common.settings import load_or_exit

SWEEP_SECONDS = 1.0
NOT_CONFIGURED_SECONDS = 30.0
PARTITION_SECONDS = 3_600.0
LAGO_SWEEP_SECONDS = 60.0
RECONCILE_SECONDS = 600.0
RECOVERY_SECONDS = 5.0
WATCH_SECONDS = 15.0


async def serve(settings: BillingBridgeSettings) -> None:
    """Keep the ledger and deliver it to Lago until told to stop."""
    async with AsyncExitStack() as stack:
        database = Database(settings, application_name="polaris-billing-bridge")
        stack.push_async_callback(database.close)
        await require_database(database)
        figures = metrics_server(settings, DatabaseFigures(database, MONEY))
        jobs = Jobs(settings)
        stack.push_async_callback(jobs.close)
        lago = recovery = None
        if settings.lago_configured:
            lago = LagoClient(settings, budget=RequestBudget(settings.lago_requests_per_second))
            stack.push_async_callback(lago.close)
            recovery = Recovery(database, lago, metric_code=settings.lago_metric_code)
        ledger = Ledger(
            database, jobs, policy=settings.slice_policy, metric_code=settings.lago_metric_code, gate=recovery
        )

        async def keep_partitions() -> None:
            async with database.unit_of_work() as uow:
                await ensure_partitions(uow)
                await drop_old_events(uow)

        async def say_not_configured() -> None:
            async with database.unit_of_work() as uow:
                await report(uow, Component.LAGO, error="not_configured")

        functions = [(JobName.BILL_DUE, ledger.bill_due)]
        tasks = [
            EventRelay(database, jobs.redis).run(),
            every(SWEEP_SECONDS, ledger.bill_due, name="bill_due"),
            every(HELD_AGAIN_AFTER_SECONDS, ledger.bill_held, name="bill_held"),
            every(PARTITION_SECONDS, keep_partitions, name="partitions"),
        ]
        if lago is not None and recovery is not None:
            tasks.append(every(RECOVERY_SECONDS, recovery.look, name="recovery"))
            gate = SafetyGate(database, lago, settings.lago_metric_code)
            sender = Sender(database, lago, SystemClock(), gate)
            functions.append((JobName.SEND_EVENTS, sender.send_due))
            tasks.append(every(SWEEP_SECONDS, sender.send_due, name="send_events"))
            reconciliation = Reconciliation(
                database, lago, metric_code=settings.lago_metric_code, close_margin=settings.close_margin
            )
            tasks.append(every(RECONCILE_SECONDS, reconciliation.check_due, name="reconciliation"))
            tasks.append(every(WATCH_SECONDS, Watch(database, settings.watch_policy).look, name="watch"))
            tasks += _mirroring(Mirror(database, lago, ledger, gate), database, gate, settings.lago_mirror_seconds)
        else:
            tasks.append(every(NOT_CONFIGURED_SECONDS, say_not_configured, name="lago_not_configured"))
        tasks.append(figures)
        tasks.append(JobWorker(settings, Queue.BILLING_BRIDGE, functions).run())
        await run_until_stopped(*tasks, alive_file=settings.alive_file)


def _mirroring(
    mirror: Mirror, database: Database, gate: SafetyGate, refresh_seconds: float
) -> list[Coroutine[Any, Any, None]]:
    inbox = WebhookInbox(database, mirror, gate)
    return [
        every(refresh_seconds, mirror.refresh, name="lago_mirror"),
        every(LAGO_SWEEP_SECONDS, mirror.sweep_due, name="lago_sweeps"),
        every(SWEEP_SECONDS, inbox.process_due, name="lago_webhooks"),
    ]


def main() -> None:
    """Read the configuration and serve."""
    settings = load_or_exit(BillingBridgeSettings)
    configure_logging("billing-bridge", settings.debug_level, version=settings.app_version)
    run(lambda: serve(settings))


if __name__ == "__main__":
    main()
