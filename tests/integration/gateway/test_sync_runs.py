"""Operators ask for runs, look at them and end them."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text
from tests.support.gateway import ADMIN_URL, GatewayWorld

from polaris_common.charging.sync_runs import Counts, SyncRunRepository, recorded_segment
from polaris_common.db import AdvisoryLock, LockName
from polaris_common.models import SegmentStatus

RUNS = "/api/admin/sync"
ORIGIN = {"origin": ADMIN_URL}


async def _begun(world: GatewayWorld, status: str = "running") -> int:
    ended = "NULL" if status == "running" else "now()"
    async with world.database.unit_of_work() as uow:
        run_id: int = await uow.session.scalar(
            text(
                "INSERT INTO sync_runs (trigger, status, started_at, completed_at)"  # noqa: S608 - the test's own
                f" VALUES ('schedule', :status, now(), {ended}) RETURNING id"
            ),
            {"status": status},
        )
    return run_id


async def _cancel(world: GatewayWorld, run_id: object, **headers: str) -> httpx.Response:
    return await world.admin.post(f"{RUNS}/{run_id}/cancel", headers=ORIGIN | headers)


def _error(response: httpx.Response) -> tuple[int, Any]:
    return response.status_code, response.json().get("error")


async def test_a_triggered_run_that_waits_is_cancelled_at_once_and_both_are_on_record(world: GatewayWorld) -> None:
    operator = await world.operator()
    triggered = [await world.admin.post(f"{RUNS}/trigger", headers=ORIGIN) for _ in range(2)]
    run_ids = {each.json()["syncRunId"] for each in triggered}
    assert ([each.status_code for each in triggered], len(run_ids)) == ([202, 202], 1)

    (run_id,) = run_ids
    first, again = await _cancel(world, run_id), await _cancel(world, run_id)

    assert (first.status_code, first.json()["status"], first.json()["startedAt"]) == (200, "cancelled", None)
    assert (again.status_code, again.json()) == (200, first.json())
    for event in ("sync_run.triggered", "sync_run.cancelled"):
        row = (await world.audited(event))[0]
        assert (row.user_id, row.details, row.route) == (
            operator,
            {"syncRunId": run_id},
            f"{RUNS}/trigger" if event.endswith("triggered") else f"{RUNS}/{{run_id}}/cancel",
        )


async def test_a_run_that_a_worker_is_at_will_end_and_says_so_when_asked_again(world: GatewayWorld) -> None:
    await world.operator()
    async with AdvisoryLock(world.database, LockName.SYNC) as worker:
        assert worker.held
        run_id = await _begun(world)
        first = await _cancel(world, run_id)
        assert (first.status_code, first.json()["status"]) == (202, "running")
        assert (await _cancel(world, run_id)).json() == first.json()
        async with world.database.unit_of_work() as uow:
            await SyncRunRepository(uow).finish(run_id, Counts(seen=3), interrupted=True)
    ended = await _cancel(world, run_id)
    assert (ended.status_code, ended.json()["status"], ended.json()["transactionsSeen"]) == (200, "cancelled", 3)


async def test_a_run_whose_worker_is_dead_is_cancelled_at_once(world: GatewayWorld) -> None:
    await world.operator()
    answer = await _cancel(world, await _begun(world))
    assert (answer.status_code, answer.json()["status"], answer.json()["error"]) == (200, "cancelled", "worker_died")


async def test_an_unknown_run_and_one_that_has_ended_are_told_apart(world: GatewayWorld) -> None:
    await world.operator()
    assert _error(await _cancel(world, 4_711)) == (404, "sync_run_not_found")
    assert _error(await _cancel(world, "latest")) == (422, "invalid_request")
    for status in ("completed", "failed"):
        assert _error(await _cancel(world, await _begun(world, status))) == (409, "sync_run_over")
    assert await world.audited("sync_run.cancelled") == []


async def test_a_repeat_with_the_same_key_gets_the_first_answer_although_the_run_has_ended(world: GatewayWorld) -> None:
    await world.operator()
    key = {"idempotency-key": "cancel-once"}
    async with AdvisoryLock(world.database, LockName.SYNC):
        run_id = await _begun(world)
        first = await _cancel(world, run_id, **key)
        async with world.database.unit_of_work() as uow:
            await SyncRunRepository(uow).finish(run_id, Counts(), interrupted=True)
    again = await _cancel(world, run_id, **key)
    assert (first.status_code, again.status_code, again.content) == (202, 202, first.content)


@pytest.mark.parametrize("path", ["/trigger", "/1/cancel"])
async def test_for_drivers_there_are_no_runs(world: GatewayWorld, path: str) -> None:
    await world.driver()
    assert (await world.admin.post(RUNS + path)).status_code == 401
    assert (await world.customer.post(RUNS + path)).status_code == 404


async def test_a_run_shows_its_parts_and_its_log_while_it_works(world: GatewayWorld) -> None:
    await world.operator()
    run_id = await _begun(world)
    async with recorded_segment(world.database, run_id, "transaction_sync") as record:
        for number in range(3):
            await record.log("info", f"line {number}", number=number)
        record.counts.seen = 7
        await record.save()
        detail = (await world.admin.get(f"{RUNS}/{run_id}")).json()
        logs = f"{RUNS}/{run_id}/logs?limit=2&segment=transaction_sync"
        page = (await world.admin.get(logs)).json()
        older = (await world.admin.get(f"{logs}&cursor={page['nextCursor']}")).json()

    assert (detail["run"]["status"], len(detail["segments"])) == ("running", 1)
    (segment,) = detail["segments"]
    assert (segment["segment"], segment["status"], segment["seen"]) == (
        "transaction_sync",
        SegmentStatus.RUNNING,
        7,
    )
    assert [line["message"] for line in page["items"] + older["items"]] == ["line 2", "line 1", "line 0"]
    assert page["items"][0]["context"] == {"number": 2}
    assert (await world.admin.get(f"{RUNS}/{run_id}/logs?segment=tag_linking")).json()["items"] == []
    assert _error(await world.admin.get(f"{RUNS}/4711/logs")) == (404, "sync_run_not_found")
    assert _error(await world.admin.get(f"{RUNS}/4711")) == (404, "sync_run_not_found")


async def test_runs_are_listed_latest_first_and_by_how_they_ended(world: GatewayWorld) -> None:
    await world.operator()
    ids = [await _begun(world, status) for status in ("completed", "failed", "completed")]
    everything = (await world.admin.get(RUNS)).json()
    failed = (await world.admin.get(f"{RUNS}?status=failed")).json()
    assert ([each["id"] for each in everything["items"]], everything["total"]) == (ids[::-1], 3)
    assert [each["id"] for each in failed["items"]] == [ids[1]]


async def test_a_pin_holds_from_now_on_and_ends_when_it_is_cleared(world: GatewayWorld) -> None:
    operator = await world.operator()
    before = (await world.admin.get(f"{RUNS}/state")).json()
    pinned = await world.admin.post(f"{RUNS}/pin", json={"tier": "dormant", "hours": 2}, headers=ORIGIN)
    during = (await world.admin.get(f"{RUNS}/state")).json()
    cleared = await world.admin.delete(f"{RUNS}/pin", headers=ORIGIN)
    after = (await world.admin.get(f"{RUNS}/state")).json()

    assert (before["currentTier"], before["pinnedTier"], before["recentTransitions"]) == ("idle", None, [])
    assert (pinned.status_code, pinned.json()["message"]) == (200, "Tier pinned to dormant for 2h")
    assert (during["currentTier"], during["fleetTier"], during["pinnedTier"]) == ("dormant", "idle", "dormant")
    assert during["pinnedUntil"] == pinned.json()["pinnedUntil"]
    assert (cleared.status_code, after) == (200, before)
    (row,) = await world.audited("sync.pinned")
    assert (row.user_id, row.details) == (operator, {"tier": "dormant", "hours": 2})
    assert len(await world.audited("sync.unpinned")) == 1


@pytest.mark.parametrize("pin", [{"hours": 0}, {"hours": 337}, {"tier": "sleepy"}, {"hours": None}])
async def test_a_pin_of_another_kind_is_refused(world: GatewayWorld, pin: dict[str, Any]) -> None:
    await world.operator()
    answer = await world.admin.post(f"{RUNS}/pin", json={"tier": "active", "hours": 1, **pin}, headers=ORIGIN)
    assert _error(answer) == (422, "invalid_request")
    assert (await world.admin.get(f"{RUNS}/state")).json()["pinnedTier"] is None


async def test_the_state_shows_what_the_cadence_has_come_to(world: GatewayWorld) -> None:
    await world.operator()
    run_id = await _begun(world, "completed")
    async with recorded_segment(world.database, run_id, "scheduling") as record:
        await record.log("info", "Cadence evaluated", to="idle")
    async with world.database.unit_of_work() as uow:
        await uow.execute(
            text(
                "INSERT INTO charger_cadence (charge_box_id, tier, quiet_ticks, last_activity_at) VALUES"
                " ('CP-1', 'idle', 1, '2026-03-01T12:00:00Z'), ('CP-2', 'idle', 2, NULL), ('CP-3', 'dormant', 0, NULL)"
            )
        )
    state = (await world.admin.get(f"{RUNS}/state")).json()
    assert (state["lastActivityAt"], state["consecutiveIdleTicks"]) == ("2026-03-01T12:00:00.000Z", 1)
    assert [(line["message"], line["context"]) for line in state["recentTransitions"]] == [
        ("Cadence evaluated", {"to": "idle"})
    ]
