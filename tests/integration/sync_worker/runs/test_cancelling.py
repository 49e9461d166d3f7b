"""An operator ends a run: before it begins, in the middle of it, when its worker is dead, and when it is too late."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.support.site import Site, build_site
from tests.support.worker_processes import until

from polaris_common.charging.sync_runs import (
    Counts,
    SyncRunNotFound,
    SyncRunOver,
    SyncRunRepository,
    delete_old_runs,
)
from polaris_common.db import AdvisoryLock, Database, LockName
from polaris_common.models import SyncRun
from polaris_common.settings import RedisSettings
from polaris_sim.steve import Profile

Outcome = tuple[str, str | None]

_SEGMENTS = "SELECT segment, status FROM sync_run_segments WHERE sync_run_id = (SELECT min(id) FROM sync_runs)"


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync_worker.runs.service.CANCEL_LOOK_SECONDS", 0.02)


async def _cancel(site: Site, run_id: int) -> SyncRun:
    async with site.database.unit_of_work() as uow:
        return await SyncRunRepository(uow).cancel(run_id)


async def _runs(site: Site) -> list[Outcome]:
    return [(row.status, row.error) for row in await site.rows("SELECT status, error FROM sync_runs ORDER BY id")]


async def _segments(site: Site) -> dict[str, str]:
    """Of the first run."""
    return {row.segment: row.status for row in await site.rows(_SEGMENTS)}


async def _over(site: Site) -> list[str]:
    query = (
        "SELECT payload ->> 'status' AS status FROM domain_events WHERE type = 'sync.completed' ORDER BY created_at, id"
    )
    return [row.status for row in await site.rows(query)]


async def _running(site: Site) -> int:
    """A run that somebody has begun; its id."""
    await site.execute("INSERT INTO sync_runs (trigger, status, started_at) VALUES ('test', 'running', now())")
    await site.execute("INSERT INTO sync_run_segments (sync_run_id, segment) SELECT id, 'tag_linking' FROM sync_runs")
    return int((await site.row("SELECT id FROM sync_runs")).id)


def _when_asked(site: Site, wanted: str, act: Callable[[], Awaitable[object]]) -> None:
    """Do something when SteVe is asked for ``wanted``, once; it never answers that question."""

    async def listen(path: str) -> None:
        if path == wanted:
            site.requests.before = None
            await act()
            await asyncio.Event().wait()

    site.requests.before = listen


async def test_a_run_that_nobody_has_begun_is_cancelled_at_once_and_never_begins(site: Site) -> None:
    await site.in_operation()
    cancelled = await _cancel(site, await site.trigger())

    assert (cancelled.status, cancelled.started_at) == ("cancelled", None)
    assert cancelled.completed_at == cancelled.cancel_requested_at
    await site.runs.run_if_due()
    assert [status for status, _ in await _runs(site)] == ["completed", "cancelled"]
    assert await _over(site) == ["completed", "cancelled"]
    assert site.requests.paths == []


async def test_a_run_that_waits_for_steve_ends_within_seconds_and_the_next_one_does_the_rest(site: Site) -> None:
    transaction = await site.charge()
    _when_asked(site, "/ocppTags", lambda: _cancel_running(site))

    run = await asyncio.wait_for(site.run(), 10)

    assert (run.status, run.error, run.transactions_new) == ("cancelled", None, 1)
    assert await site.state(transaction) == ("settled", None)
    assert await _segments(site) == {"transaction_sync": "success", "tag_linking": "cancelled"}
    lines = await site.rows("SELECT message FROM sync_run_logs ORDER BY id")
    assert [line.message for line in lines] == ["Reading SteVe's whole table", "Cancelled by an operator"]
    assert await _over(site) == ["cancelled"]
    async with AdvisoryLock(site.database, LockName.SYNC) as lock:
        assert lock.held

    again = await site.run()
    assert (again.status, again.transactions_new) == ("completed", 0)


async def _cancel_running(site: Site) -> SyncRun:
    run = await site.row("SELECT id FROM sync_runs WHERE status = 'running'")
    return await _cancel(site, run.id)


async def test_the_whole_table_is_still_owed_when_its_reading_was_cancelled(site: Site) -> None:
    transaction = await site.charge()
    calls: list[str] = []

    async def cancel_at_the_table(path: str) -> None:
        calls.append(path)
        if site.requests.paths[-1].startswith("/transactions?type=ALL&periodType=ALL"):
            site.requests.before = None
            await _cancel_running(site)
            await asyncio.Event().wait()

    site.requests.before = cancel_at_the_table
    assert (await asyncio.wait_for(site.run(), 10)).status == "cancelled"
    assert await _segments(site) == {"transaction_sync": "cancelled"}

    await site.run()
    assert await site.state(transaction) == ("settled", None)
    assert (await site.row("SELECT nightly_pass_on FROM sync_schedule")).nightly_pass_on is not None


async def test_what_was_found_before_the_cancellation_stays_and_the_next_run_finds_what_comes_after(
    database: Database, redis_settings: RedisSettings
) -> None:
    async with build_site(database, redis_settings, Profile.V3_8) as site:
        await site.in_operation()
        transactions = [await site.charge(box=f"CP-{number}") for number in range(1, 5)]
        asked: list[str] = []

        async def cancel_at_the_third(path: str) -> None:
            if f"transactionPk={transactions[2]}" in site.requests.paths[-1]:
                asked.append(path)
                site.requests.before = None
                await _cancel_running(site)
                await asyncio.Event().wait()

        site.requests.before = cancel_at_the_third
        run = await asyncio.wait_for(site.run(), 10)
        known = "SELECT steve_transaction_id AS id FROM charging_sessions ORDER BY id"

        assert (run.status, bool(asked)) == ("cancelled", True)
        assert [row.id for row in await site.rows(known)] == transactions[:2]
        await site.run()
        assert [row.id for row in await site.rows(known)] == transactions


async def test_a_run_that_waits_for_a_live_poll_to_end_can_be_cancelled(site: Site) -> None:
    async with AdvisoryLock(site.database, LockName.TRANSACTIONS) as poll:
        assert poll.held
        run_id = await site.trigger()
        work = asyncio.create_task(site.runs.run_requested())
        await until(lambda: _is(site, run_id, "running"))
        assert (await _cancel(site, run_id)).status == "running"
        await asyncio.wait_for(work, 10)
    assert await _runs(site) == [("cancelled", None)]


async def _is(site: Site, run_id: int, status: str) -> bool:
    return bool((await site.row("SELECT status FROM sync_runs WHERE id = :id", id=run_id)).status == status)


async def test_cancelling_again_changes_nothing(site: Site) -> None:
    async with AdvisoryLock(site.database, LockName.SYNC):
        run_id = await _running(site)
        first, second = await _cancel(site, run_id), await _cancel(site, run_id)
        assert first.cancel_requested_at == second.cancel_requested_at
        async with site.database.unit_of_work() as uow:
            assert await SyncRunRepository(uow).finish(run_id, Counts(), interrupted=True) == "cancelled"
    ended = await _cancel(site, run_id)
    assert (ended.status, ended.cancel_requested_at) == ("cancelled", first.cancel_requested_at)
    assert await _over(site) == ["cancelled"]


async def test_a_run_whose_worker_is_dead_is_cancelled_at_once(site: Site) -> None:
    run = await _cancel(site, await _running(site))
    assert (run.status, run.error) == ("cancelled", "worker_died")
    assert await _segments(site) == {"tag_linking": "cancelled"}
    assert await _over(site) == ["cancelled"]


async def test_a_run_whose_worker_dies_before_it_sees_the_wish_is_cancelled_by_the_next_one(site: Site) -> None:
    async with AdvisoryLock(site.database, LockName.SYNC) as worker:
        assert worker.held
        assert (await _cancel(site, await _running(site))).status == "running"
    await site.runs.run_if_due()
    assert (await _runs(site))[0] == ("cancelled", "worker_died")
    assert (await _segments(site))["tag_linking"] == "cancelled"


async def test_a_worker_that_is_told_to_stop_before_it_sees_the_wish_leaves_a_cancelled_run(site: Site) -> None:
    async with AdvisoryLock(site.database, LockName.SYNC):
        run_id = await _running(site)
        await _cancel(site, run_id)
        async with site.database.unit_of_work() as uow:
            await SyncRunRepository(uow).finish(run_id, Counts(), error="worker_stopped")
    assert await _runs(site) == [("cancelled", "worker_stopped")]


async def test_a_run_that_has_done_everything_when_the_wish_comes_has_completed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync_worker.runs.service.CANCEL_LOOK_SECONDS", 60.0)
    answers: list[str] = []

    async def cancel_late(path: str) -> None:
        if path == "/chargeBoxes" and await site.rows("SELECT 1 FROM sync_run_segments WHERE segment = 'chargers'"):
            site.requests.before = None
            answers.append((await _cancel_running(site)).status)

    site.requests.before = cancel_late
    run = await site.run()

    assert (answers, run.status) == (["running"], "completed")
    with pytest.raises(SyncRunOver):
        await _cancel(site, run.id)
    assert await _over(site) == ["completed"]


async def test_beginning_a_run_and_cancelling_it_at_the_same_time_loses_neither(site: Site) -> None:
    """The run is either never begun, or begun and told to end; no third way."""
    for _ in range(5):
        run_id = await site.trigger()
        await asyncio.gather(site.runs.run_requested(), _cancel(site, run_id), return_exceptions=True)
        run = await site.row("SELECT * FROM sync_runs WHERE id = :id", id=run_id)
        assert run.status in ("cancelled", "completed")
        if run.started_at is None:
            assert run.status == "cancelled"
    assert len(await _over(site)) == 5


async def test_there_is_nothing_to_cancel_in_a_run_that_never_was_or_has_failed(site: Site) -> None:
    with pytest.raises(SyncRunNotFound):
        await _cancel(site, 4_711)
    run_id = await _running(site)
    await site.execute("UPDATE sync_runs SET status = 'failed', completed_at = now()")
    with pytest.raises(SyncRunOver):
        await _cancel(site, run_id)


async def test_no_other_run_begins_by_itself_right_after_a_cancelled_one(site: Site) -> None:
    await site.in_operation()
    await site.execute("UPDATE sync_runs SET completed_at = now() - interval '2 hours'")
    _when_asked(site, "/ocppTags", lambda: _cancel_running(site))
    await asyncio.wait_for(site.runs.run_if_due(), 10)
    assert [status for status, _ in await _runs(site)] == ["completed", "cancelled"]

    await site.runs.run_if_due()
    assert len(await _runs(site)) == 2

    await site.execute("UPDATE sync_runs SET completed_at = completed_at - interval '2 hours'")
    await site.runs.run_if_due()
    assert [status for status, _ in await _runs(site)] == ["completed", "cancelled", "completed"]


async def test_a_live_poll_with_too_much_to_read_leaves_it_to_the_next_regular_run_after_a_cancelled_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.in_operation()
    monkeypatch.setattr("sync_worker.transactions.finding.REQUESTS_PER_POLL", 0)
    await _cancel(site, await _begun(site))
    await site.runs.live_poll()
    assert await site.rows("SELECT 1 FROM sync_runs WHERE status = 'requested'") == []
    assert (await site.row("SELECT nightly_pass_on FROM sync_schedule")).nightly_pass_on is None

    await site.execute("DELETE FROM sync_runs WHERE status = 'cancelled'")
    await site.runs.live_poll()
    assert len(await site.rows("SELECT 1 FROM sync_runs WHERE status = 'requested'")) == 1


async def _begun(site: Site) -> int:
    await site.execute("INSERT INTO sync_runs (trigger, status, started_at) VALUES ('test', 'running', now())")
    return int((await site.row("SELECT id FROM sync_runs WHERE status = 'running'")).id)


async def test_old_cancelled_runs_are_forgotten_like_others(site: Site) -> None:
    await _cancel(site, await site.trigger())
    await site.run()
    await site.execute("UPDATE sync_runs SET completed_at = now() - interval '91 days'")
    async with site.database.unit_of_work() as uow:
        assert await delete_old_runs(uow) == 1
    assert [status for status, _ in await _runs(site)] == ["completed"]
