"""``python -m sync_worker``."""

from contextlib import AsyncExitStack

from polaris_common.alive import keep_alive_file
from polaris_common.db import Database
from polaris_common.events.relay import EventRelay
from polaris_common.jobs import Jobs, JobWorker, Queue
from polaris_common.jobs.queue import JobName
from polaris_common.observability import configure_logging
from polaris_common.observability.health import Component, heartbeat
from polaris_common.process import every, require_database, run, run_until_stopped
from polaris_common.settings import load_or_exit
from polaris_common.steve import SteveClient
from sync_worker.runs.service import SyncRuns
from sync_worker.settings import SyncWorkerSettings
from sync_worker.transactions.service import TransactionSync

HEARTBEAT_SECONDS = 15
RUN_CHECK_SECONDS = 5


async def serve(settings: SyncWorkerSettings) -> None:
    """Follow SteVe until told to stop."""
    async with AsyncExitStack() as stack:
        database = Database(settings, application_name="polaris-sync-worker")
        stack.push_async_callback(database.close)
        await require_database(database)
        jobs = Jobs(settings)
        stack.push_async_callback(jobs.close)
        steve = SteveClient(settings)
        stack.push_async_callback(steve.close)
        runs = SyncRuns(
            database,
            steve,
            TransactionSync(database, steve, jobs),
            interval_seconds=settings.sync_interval_seconds,
        )
        if settings.sync_on_startup:
            await runs.request_run("startup")
        worker = JobWorker(
            settings, Queue.SYNC_WORKER, [(JobName.LIVE_POLL, runs.live_poll), (JobName.SYNC_RUN, runs.run_requested)]
        )

        async def beat() -> None:
            async with database.unit_of_work() as uow:
                await heartbeat(uow, Component.SYNC)

        tasks = [
            worker.run(),
            EventRelay(database, jobs.redis).run(),
            every(RUN_CHECK_SECONDS, runs.run_if_due, name="run_if_due"),
            every(HEARTBEAT_SECONDS, beat, name="heartbeat"),
        ]
        if settings.sync_live_poll_seconds:
            tasks.append(every(settings.sync_live_poll_seconds, runs.live_poll, name="live_poll"))
        if settings.alive_file:
            tasks.append(keep_alive_file(settings.alive_file))
        await run_until_stopped(*tasks)


def main() -> None:
    """Read the configuration and serve."""
    settings = load_or_exit(SyncWorkerSettings)
    configure_logging("sync-worker", settings.debug_level, version=settings.app_version)
    run(lambda: serve(settings))


if __name__ == "__main__":
    main()
