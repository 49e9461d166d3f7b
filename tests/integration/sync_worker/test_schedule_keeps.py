"""The schedule holds whatever a clock, a second worker or a large history does."""

from datetime import UTC, datetime, timedelta

import time_machine
from tests.support.site import NOON, Site

from polaris_common.charging.schedule import ScheduleRepository
from polaris_common.db import AdvisoryLock, LockName
from polaris_common.domain.cadence import Tier


async def _runs(site: Site) -> list[str]:
    return [run.status for run in await site.rows("SELECT status FROM sync_runs ORDER BY id")]


async def test_a_worker_whose_clock_is_wrong_by_days_decides_as_the_database_says(site: Site) -> None:
    transaction = await site.start(0)
    site.stop(transaction, 2_000, actor="manual")
    silent = await site.start(0, box="CP-2")
    await site.in_operation()
    await site.pin(Tier.DORMANT, hours=2)
    for days in (-9, 9):
        with time_machine.travel(datetime.now(UTC) + timedelta(days=days)):
            worker = site.restarted()
            await worker.runs.live_poll()
            await worker.runs.run_if_due()
        assert await site.state(transaction) == ("stopped", None)
        assert await site.state(silent) == ("open", None)
        assert await _runs(site) == ["completed"]
    async with site.database.unit_of_work() as uow:
        assert (await ScheduleRepository(uow).read()).pinned is Tier.DORMANT


async def test_a_run_that_takes_hours_is_not_declared_dead_while_its_worker_lives(site: Site) -> None:
    async with AdvisoryLock(site.database, LockName.SYNC) as lock:
        assert lock.held
        await site.execute(
            "INSERT INTO sync_runs (trigger, status, started_at) VALUES ('test', 'running', now() - interval '5 hours')"
        )
        await site.trigger()
        await site.restarted().runs.run_if_due()
        assert await _runs(site) == ["running", "requested"]
    await site.restarted().runs.run_if_due()
    assert await _runs(site) == ["failed", "completed"]


async def test_a_manual_run_moves_the_next_one_and_what_people_see_is_when_it_happens(site: Site) -> None:
    await site.start()
    await site.in_operation()
    await site.execute("UPDATE sync_runs SET completed_at = now() - interval '14 minutes'")
    await site.trigger()
    await site.runs.run_if_due()
    await site.runs.run_if_due()
    seen = await site.row(
        "SELECT s.next_run_at, max(r.completed_at) AS last FROM sync_schedule s, sync_runs r GROUP BY s.next_run_at"
    )
    assert seen.next_run_at == seen.last + timedelta(minutes=15)

    await site.execute("UPDATE sync_runs SET completed_at = completed_at - interval '15 minutes'")
    await site.runs.run_if_due()
    assert await _runs(site) == ["completed"] * 3


async def test_a_run_of_a_site_with_a_long_history_asks_as_little_as_one_with_a_short_one(site: Site) -> None:
    asked = []
    for hours in (2, 600):
        for hour in range(hours):
            await site.charge(at=NOON - timedelta(hours=2 * hour + hours))
        await site.execute("UPDATE sync_schedule SET nightly_pass_on = NULL")
        await site.in_operation()
        await site.run()
        asked.append(len(site.requests.paths))
    assert asked[1] <= asked[0] + 5
    assert not [path for path in site.requests.paths if "periodType=ALL" in path]
