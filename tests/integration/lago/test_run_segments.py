"""What was read of Lago is part of the sync run that it followed."""

import pytest
from tests.integration.lago.conftest import ToldLago, Town

from billing_bridge.mirror.service import Mirror
from polaris_common.charging.sync_runs import Counts, SyncRunRepository

OPEN = "lago_subscriptions"
NEEDED = ("lago_subscriptions", "local_reconcile", "lago_customers", "lago_plans", "lago_billable_metrics")


async def _run(town: Town, status: str = "completed", error: str | None = None) -> int:
    row = await town.row(
        "INSERT INTO sync_runs (trigger, status, error, started_at, completed_at)"
        " VALUES ('test', :status, :error, now(), CASE :status WHEN 'running' THEN NULL ELSE now() END) RETURNING id",
        status=status,
        error=error,
    )
    return int(row.id)


async def _segments(town: Town, run_id: int) -> dict[str, tuple[str, int, int, int]]:
    rows = await town.rows("SELECT * FROM sync_run_segments WHERE sync_run_id = :id ORDER BY started_at", id=run_id)
    return {row.segment: (row.status, row.seen, row.changed, row.failed) for row in rows}


@pytest.mark.parametrize("status", ["running", "completed", "failed"])
async def test_a_run_gets_a_segment_for_each_list_that_was_read_after_it_began(town: Town, status: str) -> None:
    await town.card("c-1")
    town.subscribe(town.customer(), "s-1")
    await town.mirror.refresh()
    town.terminate("s-1")
    run_id = await _run(town, status)
    await town.mirror.refresh()
    await town.mirror.sweep_due()
    assert await _segments(town, run_id) == {
        "lago_subscriptions": ("success", 1, 1, 0),
        "local_reconcile": ("success", 0, 1, 0),
        "lago_customers": ("success", 1, 0, 0),
        "lago_plans": ("success", 2, 0, 0),
        "lago_billable_metrics": ("success", 1, 0, 0),
        "lago_invoices": ("success", 0, 0, 0),
        "lago_wallets": ("success", 0, 0, 0),
    }
    progress = await town.events("sync.progress")
    assert {(each["syncRunId"], each["status"]) for each in progress} == {(run_id, "running"), (run_id, "success")}


async def test_only_the_first_reading_after_a_run_is_its_own_and_lists_that_are_not_due_are_skipped(town: Town) -> None:
    await town.mirror.sweep_due()
    run_id = await _run(town)
    await town.mirror.refresh()
    await town.mirror.sweep_due()
    before = await town.rows("SELECT xmin, * FROM sync_run_segments")
    town.customer()
    await town.mirror.refresh()
    await town.mirror.sweep_due()
    assert await town.rows("SELECT xmin, * FROM sync_run_segments") == before
    segments = await _segments(town, run_id)
    assert [segments[name][0] for name in ("lago_invoices", "lago_wallets")] == ["skipped", "skipped"]


async def test_without_a_run_and_for_one_that_waits_or_died_or_was_cancelled_nothing_is_recorded(town: Town) -> None:
    await town.mirror.refresh()
    await _run(town, "failed", "worker_died")
    await town.mirror.refresh()
    await _run(town, "cancelled")
    await town.mirror.refresh()
    await town.execute("DELETE FROM sync_runs")
    await town.execute("INSERT INTO sync_runs (trigger) VALUES ('test')")
    await town.mirror.refresh()
    await town.mirror.sweep_due()
    assert await town.rows("SELECT 1 FROM sync_run_segments") == []
    assert await town.health("lago") is None


async def test_what_lago_did_not_answer_or_nobody_believes_stands_in_its_segment(
    town: Town, told: ToldLago, told_mirror: Mirror
) -> None:
    told.lists["customers"] = [{"lago_id": f"l{n}", "external_id": f"c{n}"} for n in range(20)]
    await told_mirror.refresh()
    run_id = await _run(town)
    told.lists |= {"customers": [], "plans": [{"name": "without code"}]}
    told.refused = {"/billable_metrics?": 403, "/invoices": 502}
    await told_mirror.refresh()
    await told_mirror.sweep_due()
    assert {name: status for name, (status, *_) in (await _segments(town, run_id)).items()} == {
        "lago_subscriptions": "success",
        "local_reconcile": "success",
        "lago_customers": "warning",
        "lago_plans": "warning",
        "lago_billable_metrics": "error",
        "lago_invoices": "error",
    }
    lines = await town.rows("SELECT segment, level, message FROM sync_run_logs ORDER BY id")
    assert [(line.segment, line.level) for line in lines] == [
        ("lago_customers", "warn"),
        ("lago_billable_metrics", "error"),
        ("lago_invoices", "error"),
    ]
    assert lines[1].message == "LagoRefused: Lago answered 403"


async def test_a_run_whose_worker_dies_while_lago_is_read_disturbs_no_reading(
    town: Town, told: ToldLago, told_mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await _run(town, "running")
    told.lists["customers"] = [{"lago_id": "l", "external_id": "c"}]
    original = told_mirror._sweeper.run

    async def dying(sweep: object) -> object:
        await town.execute("UPDATE sync_runs SET status = 'failed', error = 'worker_died', completed_at = now()")
        return await original(sweep)  # type: ignore[arg-type]

    monkeypatch.setattr(told_mirror._sweeper, "run", dying)
    await told_mirror.refresh()
    assert (await town.row("SELECT external_id FROM lago_customers")).external_id == "c"
    assert set(await _segments(town, run_id)) == {"lago_subscriptions"}


async def test_a_run_that_completes_while_lago_is_read_has_no_error_for_that(
    town: Town, told_mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await _run(town, "running")
    original = told_mirror._sweeper.run

    async def completing(sweep: object) -> object:
        async with town.database.unit_of_work() as uow:
            await SyncRunRepository(uow).finish(run_id, Counts())
        return await original(sweep)  # type: ignore[arg-type]

    monkeypatch.setattr(told_mirror._sweeper, "run", completing)
    await told_mirror.refresh()
    (over,) = await town.events("sync.completed")
    assert (over["status"], over["errorCount"]) == ("completed", 0)
    assert (await _segments(town, run_id))["lago_subscriptions"][0] == "success"


async def test_a_segment_that_a_dead_bridge_has_left_open_is_written_by_the_next_reading(town: Town) -> None:
    run_id = await _run(town)
    await town.execute("INSERT INTO sync_run_segments (sync_run_id, segment) VALUES (:id, :name)", id=run_id, name=OPEN)
    await town.mirror.refresh()
    assert (await _segments(town, run_id))[OPEN][0] == "success"
