"""What a run says about itself, while it works and afterwards."""

import asyncio
from datetime import timedelta

import pytest
from tests.support.site import NOON, Site

from polaris_common.charging.sync_runs import RunLost, SyncRunRepository, delete_old_runs, recorded_segment
from polaris_sim.faults import Fault, FaultRule

SEGMENTS = ("transaction_sync", "tag_linking", "chargers", "scheduling")


async def _statuses(site: Site, run_id: int) -> dict[str, str]:
    rows = await site.rows("SELECT segment, status FROM sync_run_segments WHERE sync_run_id = :id", id=run_id)
    return {row.segment: row.status for row in rows}


async def test_a_run_has_its_segments_each_with_an_outcome(site: Site) -> None:
    await site.charge()
    run = await site.run()
    assert run.status == "completed"
    assert await _statuses(site, run.id) == dict.fromkeys(SEGMENTS, "success")


async def test_a_running_run_shows_what_it_has_done_and_logs_as_it_goes(site: Site) -> None:
    await site.charge()
    seen: list[tuple[str, dict[str, str], int, int]] = []

    async def look(path: str) -> None:
        if path == "/ocppTags":
            run = await site.row("SELECT id, status FROM sync_runs")
            counts = await site.segment(run.id, "transaction_sync")
            lines = await site.rows("SELECT DISTINCT created_at FROM sync_run_logs")
            seen.append((run.status, await _statuses(site, run.id), counts.new, len(lines)))

    site.requests.before = look
    await site.run()
    status, segments, new, lines = seen[0]
    assert (status, new) == ("running", 1)
    assert segments == {"transaction_sync": "success", "tag_linking": "running"}
    assert lines >= 1


async def test_a_run_that_fails_early_leaves_no_segment_without_an_outcome(site: Site) -> None:
    site.steve.faults.replace([FaultRule(Fault.RESET)])
    run = await site.run()
    assert (run.status, run.error) == ("failed", "unreachable")
    assert await _statuses(site, run.id) == {
        "transaction_sync": "error",
        "tag_linking": "error",
        "chargers": "error",
        "scheduling": "success",
    }
    lines = await site.rows("SELECT segment FROM sync_run_logs WHERE level = 'error'")
    assert {line.segment for line in lines} == {"transaction_sync", "tag_linking", "chargers"}


async def test_trouble_with_tags_delays_and_loses_no_transaction(site: Site) -> None:
    transaction = await site.charge()
    site.steve.faults.replace([FaultRule(Fault.HTML_502, path="/ocppTags$")])
    run = await site.run()
    assert run.status == "failed"
    assert await site.state(transaction) == ("settled", None)
    statuses = await _statuses(site, run.id)
    assert (statuses["tag_linking"], statuses["transaction_sync"], statuses["chargers"]) == (
        "error",
        "success",
        "success",
    )


async def test_live_polls_go_on_while_a_run_is_busy_with_tags(site: Site) -> None:
    await site.in_operation()
    polled: list[tuple[str, str | None]] = []

    async def poll_meanwhile(path: str) -> None:
        if path == "/ocppTags":
            site.requests.before = None
            transaction = await site.start()
            assert await site.runs.live_poll()
            polled.append(await site.state(transaction))

    site.requests.before = poll_meanwhile
    await site.run()
    assert polled == [("open", None)]


async def test_the_counters_tell_seen_new_changed_and_held_apart(site: Site) -> None:
    fine, odd = await site.charge(), await site.start("no number", at=NOON + timedelta(hours=2))
    running = await site.start(at=NOON + timedelta(hours=5), box="CP-2")
    first = await site.run()
    counts = await site.segment(first.id, "transaction_sync")
    assert (counts.seen, counts.new, counts.changed, counts.held, counts.failed) == (3, 3, 0, 1, 0)

    site.steve.stop_transaction(running, 9_000, NOON + timedelta(hours=6))
    await site.execute("UPDATE sync_schedule SET nightly_pass_on = NULL")
    second = await site.run()
    counts = await site.segment(second.id, "transaction_sync")
    assert (counts.seen, counts.new, counts.changed, counts.held, counts.failed) == (3, 0, 1, 1, 0)
    assert (second.transactions_seen, second.transactions_new, second.transactions_changed) == (3, 0, 1)
    assert (await site.state(fine), await site.state(odd)) == (
        ("settled", None),
        ("quarantined", "start_value_unreadable"),
    )


async def test_two_workers_that_run_at_once_make_one_run(site: Site) -> None:
    other = site.restarted()
    await site.charge()
    await asyncio.gather(*(worker.runs.run_if_due() for worker in (site, other, site, other)))
    runs = await site.rows("SELECT status FROM sync_runs")
    assert [run.status for run in runs] == ["completed"]


async def test_a_trigger_during_a_run_is_another_run_afterwards_and_triggers_coalesce(site: Site) -> None:
    await site.in_operation()
    answers: list[int] = []

    async def trigger(path: str) -> None:
        if path == "/ocppTags" and not answers:
            answers.extend([await site.trigger(), await site.trigger()])

    site.requests.before = trigger
    running = await site.run()
    assert len(set(answers)) == 1
    assert answers[0] > running.id
    await site.runs.run_if_due()
    assert (await site.row("SELECT status FROM sync_runs WHERE id = :id", id=answers[0])).status == "completed"


async def test_a_trigger_while_no_worker_runs_waits_for_one(site: Site) -> None:
    await site.in_operation()
    run_id = await site.trigger()
    await site.restarted().runs.run_if_due()
    assert (await site.row("SELECT status FROM sync_runs WHERE id = :id", id=run_id)).status == "completed"


async def test_a_dead_workers_run_and_its_segments_are_closed_by_the_next_holder_at_once(site: Site) -> None:
    await site.execute("INSERT INTO sync_runs (trigger, status, started_at) VALUES ('test', 'running', now())")
    await site.execute("INSERT INTO sync_run_segments (sync_run_id, segment) SELECT id, 'tag_linking' FROM sync_runs")
    await site.runs.run_if_due()
    dead = await site.row("SELECT id, status, error FROM sync_runs ORDER BY id LIMIT 1")
    assert (dead.status, dead.error) == ("failed", "worker_died")
    assert await _statuses(site, dead.id) == {"tag_linking": "error"}


async def test_a_worker_whose_run_was_declared_dead_stops_and_never_calls_it_completed(site: Site) -> None:
    await site.charge()

    async def declare_dead(path: str) -> None:
        if path == "/ocppTags":
            async with site.database.unit_of_work() as uow:
                await SyncRunRepository(uow).bury()

    site.requests.before = declare_dead
    run = await site.run()
    assert (run.status, run.error) == ("failed", "worker_died")
    assert "chargers" not in await _statuses(site, run.id)


async def test_any_service_may_add_a_segment_to_a_run_that_has_ended(site: Site) -> None:
    run = await site.run()
    async with recorded_segment(site.database, run.id, "lago_invoices") as record:
        record.counts.seen = 7
    segment = await site.segment(run.id, "lago_invoices")
    assert (segment.status, segment.seen) == ("success", 7)


async def test_a_segment_that_fails_keeps_its_counts_and_says_why(site: Site) -> None:
    run = await site.run()

    async def fail() -> None:
        async with recorded_segment(site.database, run.id, "lago_plans") as record:
            record.counts.new = 3
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await fail()
    segment = await site.segment(run.id, "lago_plans")
    assert (segment.status, segment.new) == ("error", 3)
    line = await site.row("SELECT level, message FROM sync_run_logs WHERE segment = 'lago_plans'")
    assert (line.level, line.message) == ("error", "ValueError: broken")


async def test_nobody_writes_into_a_run_that_was_declared_dead(site: Site) -> None:
    await site.execute(
        "INSERT INTO sync_runs (trigger, status, completed_at, error) VALUES ('test', 'failed', now(), 'worker_died')"
    )
    run = await site.row("SELECT id FROM sync_runs")
    with pytest.raises(RunLost):
        async with recorded_segment(site.database, run.id, "tag_linking"):
            pass


async def test_a_fault_of_our_own_is_the_runs_outcome_and_not_the_workers_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(site.transactions, "find_zombies", broken)
    run = await site.run()
    assert (run.status, run.error) == ("failed", "internal")


async def _told(site: Site) -> list[tuple[str, dict[str, object]]]:
    rows = await site.rows(
        "SELECT type, payload, audience FROM domain_events WHERE type LIKE 'sync.%' ORDER BY created_at, id"
    )
    assert {tuple(row.audience) for row in rows} == {("operators",)}
    return [(row.type, row.payload) for row in rows]


async def test_operators_are_told_how_a_run_goes_and_when_it_is_over(site: Site) -> None:
    await site.charge()
    run = await site.run()
    told = await _told(site)

    assert told[0] == ("sync.started", {"syncRunId": run.id, "trigger": "test"})
    segments = [(each["segment"], each["status"]) for kind, each in told if kind == "sync.progress"]
    assert {segment for segment, _ in segments} == set(SEGMENTS)
    assert {status for _, status in segments} == {"running", "success"}
    assert told[-1] == (
        "sync.completed",
        {
            "syncRunId": run.id,
            "status": "completed",
            "transactionsProcessed": 1,
            "eventsCreated": 0,
            "errorCount": 0,
        },
    )


async def test_runs_that_fail_or_whose_worker_died_are_told_to_be_over_too(site: Site) -> None:
    await site.execute("INSERT INTO sync_runs (trigger, status, started_at) VALUES ('test', 'running', now())")
    site.steve.faults.replace([FaultRule(Fault.RESET)])
    run = await site.run()
    over = [told for kind, told in await _told(site) if kind == "sync.completed"]

    assert [(each["status"], each["error"]) for each in over] == [("failed", "worker_died"), ("failed", "unreachable")]
    assert [each["errorCount"] for each in over] == [1, 3]
    assert over[1]["syncRunId"] == run.id


async def test_old_runs_are_forgotten_with_their_logs_but_never_the_last_that_completed(site: Site) -> None:
    ids = [(await site.run()).id for _ in range(3)]
    await site.execute("UPDATE sync_runs SET completed_at = now() - interval '91 days'")

    async with site.database.unit_of_work() as uow:
        deleted = await delete_old_runs(uow)

    assert deleted == len(ids) - 1
    for table in ("sync_run_segments", "sync_run_logs"):
        left = await site.rows(f"SELECT DISTINCT sync_run_id FROM {table}")  # noqa: S608
        assert [row.sync_run_id for row in left] == [ids[-1]]
