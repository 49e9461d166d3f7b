"""A worker that is told to stop, and one whose connections are cut."""

import asyncio

from tests.support.site import Site
from tests.support.worker_processes import served, until, workers

_RELAY_LOCKS = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND objid = 7001"
_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'polaris-sync-worker'"


async def _statuses(site: Site) -> list[str]:
    return [row.status for row in await site.rows("SELECT status FROM sync_runs ORDER BY id")]


async def test_a_worker_told_to_stop_ends_its_run_first_and_leaves_with_0(
    site: Site, database_url: str, redis_url: str
) -> None:
    stalled, go_on = asyncio.Event(), asyncio.Event()

    async def stall(path: str) -> None:
        if path == "/ocppTags":
            stalled.set()
            await go_on.wait()

    async def is_stopping() -> bool:
        return bool((await site.row(_RELAY_LOCKS)).n == 0)

    site.requests.before = stall
    async with (
        served(site.requests) as steve,
        workers(1, database_url=database_url, redis_url=redis_url, steve=steve) as (worker,),
    ):
        await asyncio.wait_for(stalled.wait(), 20)
        stopping = asyncio.create_task(worker.stop())
        await until(is_stopping)
        assert await _statuses(site) == ["running"]
        go_on.set()
        assert await stopping == 0
    assert await _statuses(site) == ["completed"]


async def test_a_worker_whose_database_connections_are_cut_hears_the_next_trigger(
    site: Site, database_url: str, redis_url: str
) -> None:
    async def completed(number: int) -> bool:
        return (await _statuses(site)).count("completed") >= number

    async with (
        served(site.requests) as steve,
        workers(1, database_url=database_url, redis_url=redis_url, steve=steve) as (worker,),
    ):
        await until(lambda: completed(1))
        await site.execute(_CUT)
        await site.trigger()
        await site.jobs.sync_run()
        await until(lambda: completed(2))
        assert await worker.stop() == 0
