"""Workers as real processes: started twice, killed, rung, misconfigured."""

import asyncio

import httpx
from tests.support.site import Site
from tests.support.worker_processes import served, until, workers

from polaris_cli.stack.ports import free_ports
from polaris_common.domain.cadence import Tier

TAKE_OVER_SECONDS = 5
_BACKENDS = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'polaris-sync-worker'"


async def _runs(site: Site) -> list[tuple[str, str | None]]:
    return [(row.status, row.error) for row in await site.rows("SELECT status, error FROM sync_runs ORDER BY id")]


async def _completed(site: Site, number: int) -> bool:
    return sum(status == "completed" for status, _ in await _runs(site)) >= number


async def _backends(site: Site) -> int:
    return int((await site.row(_BACKENDS)).n)


async def test_a_second_worker_leaves_a_run_alone_until_its_worker_is_killed_and_then_takes_over_within_seconds(
    site: Site, database_url: str, redis_url: str
) -> None:
    transaction = await site.charge()
    stalled, go_on = asyncio.Event(), asyncio.Event()

    async def stall(path: str) -> None:
        if path == "/ocppTags":
            stalled.set()
            await go_on.wait()

    site.requests.before = stall
    async with served(site.requests) as steve:
        environment = {"database_url": database_url, "redis_url": redis_url, "steve": steve}
        async with workers(1, **environment) as (first,):
            await asyncio.wait_for(stalled.wait(), 20)
            alone = await _backends(site)
            async with workers(1, **environment):
                await until(lambda: _more_than(site, alone))
                assert await _runs(site) == [("running", None)]
                first.kill()
                assert await until(lambda: _failed_first(site)) < TAKE_OVER_SECONDS
                go_on.set()
                await until(lambda: _completed(site, 1))
    assert (await _runs(site))[0] == ("failed", "worker_died")
    assert await site.state(transaction) == ("settled", None)


async def _more_than(site: Site, backends: int) -> bool:
    return await _backends(site) > backends


async def _failed_first(site: Site) -> bool:
    return (await _runs(site))[0][0] == "failed"


async def test_two_workers_started_together_make_one_run(site: Site, database_url: str, redis_url: str) -> None:
    await site.charge()
    async with (
        served(site.requests) as steve,
        workers(2, database_url=database_url, redis_url=redis_url, steve=steve, sync_live_poll_seconds="1") as pair,
    ):
        await until(lambda: _completed(site, 1))
        later = await site.charge(box="CP-2")
        await until(lambda: _is_known(site, later))
        assert await _runs(site) == [("completed", None)]
        for worker in pair:
            await worker.serving()
        assert [await worker.stop() for worker in pair] == [0, 0]


async def _is_known(site: Site, transaction: int) -> bool:
    query = "SELECT count(*) AS n FROM charging_sessions WHERE steve_transaction_id = :id"
    return bool((await site.row(query, id=transaction)).n)


async def test_a_trigger_and_a_pin_reach_a_running_worker_at_once_by_job_and_soon_without(
    site: Site, database_url: str, redis_url: str
) -> None:
    async with (
        served(site.requests) as steve,
        workers(1, database_url=database_url, redis_url=redis_url, steve=steve),
    ):
        await until(lambda: _completed(site, 1))
        await site.trigger()
        await site.jobs.sync_run()
        assert await until(lambda: _completed(site, 2)) < TAKE_OVER_SECONDS

        await site.execute("UPDATE sync_runs SET completed_at = now() - interval '20 minutes'")
        await site.execute("UPDATE sync_schedule SET tier = 'dormant'")
        await site.pin(Tier.ACTIVE)
        assert await until(lambda: _completed(site, 3)) < TAKE_OVER_SECONDS


async def test_a_hook_signal_makes_a_worker_look_at_once_although_it_does_not_poll(
    site: Site, database_url: str, redis_url: str
) -> None:
    async with (
        served(site.requests) as steve,
        workers(1, database_url=database_url, redis_url=redis_url, steve=steve, sync_live_poll_seconds="0"),
    ):
        await until(lambda: _completed(site, 1))
        transaction = await site.start()
        await site.jobs.live_poll()
        assert await until(lambda: _is_known(site, transaction)) < TAKE_OVER_SECONDS


async def test_a_stop_that_reaches_steve_after_its_last_samples_reached_us_is_found_without_any_poll(
    site: Site, database_url: str, redis_url: str
) -> None:
    looks: list[str] = []

    async def look(path: str) -> None:
        looks.append(path)

    async with (
        served(site.requests) as steve,
        workers(1, database_url=database_url, redis_url=redis_url, steve=steve, sync_live_poll_seconds="0"),
    ):
        await until(lambda: _completed(site, 1))
        transaction = await site.start()
        await site.jobs.live_poll()
        await until(lambda: _is_known(site, transaction))

        await site.read(transaction, (60, 4_000), context="Transaction.End")
        site.requests.before = look
        await site.jobs.expected_stops()
        await until(lambda: _looked(looks))
        site.stop(transaction, 4_200)
        await until(lambda: _is_settled(site, transaction))


async def _looked(looks: list[str]) -> bool:
    return bool(looks)


async def _is_settled(site: Site, transaction: int) -> bool:
    return await site.state(transaction) == ("settled", None)


async def test_a_worker_told_to_run_on_startup_does_and_shows_its_figures_on_the_port_for_them(
    site: Site, database_url: str, redis_url: str
) -> None:
    await site.in_operation()
    (port,) = free_ports(1)
    own = {"sync_on_startup": "true", "metrics_host": "127.0.0.1", "metrics_port": str(port)}
    async with (
        served(site.requests) as steve,
        workers(1, database_url=database_url, redis_url=redis_url, steve=steve, **own) as (worker,),
    ):
        await until(lambda: _completed(site, 2))
        async with httpx.AsyncClient(trust_env=False) as http:
            shown = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
        assert 'polaris_sync_run_seconds_count{outcome="completed"} 1.0' in shown
        assert "polaris_sessions_open 0.0" in shown
        assert await worker.stop() == 0
    assert (await site.row("SELECT trigger FROM sync_runs ORDER BY id DESC LIMIT 1")).trigger == "startup"


async def test_unusable_settings_stop_the_worker_at_start_and_each_variable_is_named(
    database_url: str, redis_url: str
) -> None:
    settings = {"SYNC_CRON_SCHEDULE": "every now and then", "SYNC_IDLE_HYSTERESIS_TICKS": "0"}
    async with workers(1, database_url=database_url, redis_url=redis_url, **settings) as (worker,):
        code, said = await worker.ended()
    assert code == 2
    assert all(variable in said for variable in settings)
