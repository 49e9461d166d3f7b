"""``python -m sync_worker``."""

from contextlib import AsyncExitStack
from datetime import timedelta

import structlog

from polaris_common.charging.sync_runs import Trigger
from polaris_common.db import Database
from polaris_common.events.relay import EventRelay
from polaris_common.jobs import Jobs, JobWorker, Queue
from polaris_common.jobs.queue import JobName
from polaris_common.observability import configure_logging
from polaris_common.observability.figures import CHARGING
from polaris_common.observability.health import Component, heartbeat
from polaris_common.observability.metrics import DatabaseFigures, metrics_server
from polaris_common.process import every, require_database, run, run_until_stopped
from polaris_common.settings import load_or_exit
from polaris_common.steve import SteveClient
from sync_worker.autostop.service import AutoStop
from sync_worker.operations.service import RemoteOperations
from sync_worker.readings.service import LiveReadings
from sync_worker.reservations.service import ReservationUpkeep
from sync_worker.runs.problems import STEVE_ERRORS, code_of
from sync_worker.runs.pulse import Pulse
from sync_worker.runs.service import SyncRuns
from sync_worker.settings import SyncWorkerSettings
from sync_worker.tags.service import TagSync
from sync_worker.transactions.service import TransactionSync

HEARTBEAT_SECONDS = 15
RUN_CHECK_SECONDS = 2
TAG_SWEEP_SECONDS = 2
OPERATIONS_SECONDS = 2
STOPS_SECONDS = 2
RESERVATIONS_SECONDS = 5
READINGS_SECONDS = 10
FINISH_SECONDS = 20.0
"""A worker that is told to stop gives a run, and an operation on its way to a charger, so long to end; Docker waits 30.
"""

log = structlog.get_logger(__name__)


async def serve(settings: SyncWorkerSettings) -> None:
    """Follow SteVe until told to stop."""
    async with AsyncExitStack() as stack:
        database = Database(settings, application_name="polaris-sync-worker")
        stack.push_async_callback(database.close)
        await require_database(database)
        figures = metrics_server(settings, DatabaseFigures(database, CHARGING))
        jobs = Jobs(settings)
        stack.push_async_callback(jobs.close)
        steve = SteveClient(settings)
        stack.push_async_callback(steve.close)
        tags = TagSync(database, steve, settings.tag_policy)
        transactions = TransactionSync(
            database, steve, jobs, limits=settings.session_limits, silent_after=settings.silent_after
        )
        runs = SyncRuns(
            database,
            steve,
            transactions,
            tags=tags,
            policy=settings.cadence_policy,
            nightly_hour=settings.sync_nightly_hour,
        )
        operations = RemoteOperations(database, steve, transactions.capabilities)
        stops = AutoStop(database, jobs, patience=timedelta(minutes=settings.auto_stop_patience_minutes))
        upkeep = ReservationUpkeep(database, jobs, lead=timedelta(minutes=settings.reservation_lead_minutes))
        readings = LiveReadings(
            database,
            steve,
            jobs,
            transactions.capabilities,
            silence=timedelta(seconds=settings.sync_readings_seconds),
            at_most=settings.sync_readings_per_poll,
        )
        log.info(
            "cadence", schedule=settings.sync_cron_schedule or "by tier", live_poll=settings.sync_live_poll_seconds
        )
        if settings.sync_on_startup:
            await runs.request_run(Trigger.STARTUP)

        async def beat() -> None:
            async with database.unit_of_work() as uow:
                await heartbeat(uow, Component.SYNC)

        async def sweep_tags() -> None:
            try:
                await tags.sync_changed_mappings()
            except STEVE_ERRORS as problem:
                log.warning("tag_sweep_failed", error=code_of(problem))

        run_pulse = Pulse("run_if_due", runs.run_if_due, seconds=RUN_CHECK_SECONDS, finish_within=FINISH_SECONDS)
        poll_pulse = Pulse("live_poll", runs.live_poll, seconds=settings.sync_live_poll_seconds or None)

        async def look_for_stops() -> None:
            if await transactions.stop_expected():
                await poll_pulse.ring()

        operations_pulse = Pulse(
            "operations", operations.run_due, seconds=OPERATIONS_SECONDS, finish_within=FINISH_SECONDS
        )

        async def fetch_readings() -> None:
            if settings.sync_readings_seconds:
                await run_pulse.first_done.wait()
                await every(READINGS_SECONDS, readings.fetch, name="live_readings")

        async def poll() -> None:
            # The first run takes over what SteVe already has; only what comes after it is news.
            await run_pulse.first_done.wait()
            await poll_pulse.run()

        await run_until_stopped(
            JobWorker(
                settings,
                Queue.SYNC_WORKER,
                [
                    (JobName.LIVE_POLL, poll_pulse.ring),
                    (JobName.EXPECTED_STOPS, look_for_stops),
                    (JobName.SYNC_RUN, run_pulse.ring),
                    (JobName.OPERATIONS, operations_pulse.ring),
                ],
            ).run(),
            EventRelay(database, jobs.redis).run(),
            run_pulse.run(),
            poll(),
            fetch_readings(),
            operations_pulse.run(),
            every(STOPS_SECONDS, stops.sweep, name="auto_stop"),
            every(RESERVATIONS_SECONDS, upkeep.sweep, name="reservations"),
            every(TAG_SWEEP_SECONDS, sweep_tags, name="tag_sweep"),
            every(HEARTBEAT_SECONDS, beat, name="heartbeat"),
            figures,
            alive_file=settings.alive_file,
        )


def main() -> None:
    """Read the configuration and serve."""
    settings = load_or_exit(SyncWorkerSettings)
    configure_logging("sync-worker", settings.debug_level, version=settings.app_version)
    run(lambda: serve(settings))


if __name__ == "__main__":
    main()
