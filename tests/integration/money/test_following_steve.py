"""What happens in SteVe becomes sessions, whatever the order, the delay or the outage."""

from datetime import timedelta

import pytest
from tests.support.world import NOON, World, build_world

from polaris_common.db import Database
from polaris_common.settings import RedisSettings
from polaris_sim.faults import Fault, FaultRule
from polaris_sim.steve import Profile


async def test_an_open_transaction_becomes_a_session_and_its_driver_hears_of_it(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.runs.live_poll()

    session = await world.session(transaction)
    assert (session.state, session.start_wh, session.user_id) == ("open", 1_000, driver.user_id)
    event = await world.row("SELECT type, audience, payload FROM domain_events WHERE type LIKE 'session.%'")
    assert event.type == "session.started"
    assert set(event.audience) == {"operators", f"user:{driver.user_id}"}
    assert event.payload["transactionId"] == transaction


async def test_a_session_that_began_and_ended_between_two_polls_is_found(world: World) -> None:
    driver = await world.driver()
    transactions = [await world.charge(driver.card, wh) for wh in (100, 200, 300)]
    await world.runs.live_poll()
    assert [(await world.session(each)).state for each in transactions] == ["settled"] * 3


async def test_an_offline_session_uploaded_weeks_later_is_found_by_its_new_id(world: World) -> None:
    driver = await world.driver()
    await world.settle()
    late = await world.start(driver.card, at=NOON - timedelta(days=40))
    world.steve.stop_transaction(late, 1_700, NOON - timedelta(days=39))
    await world.settle()
    assert world.billed_wh(driver.subscription) == 700


async def test_a_session_longer_than_any_look_back_still_settles(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card, at=NOON - timedelta(days=90))
    await world.settle()
    world.stop(transaction, 9_000)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 8_000


async def test_an_id_that_became_visible_after_higher_ones_is_not_missed(world: World) -> None:
    driver = await world.driver()
    first, second = await world.charge(driver.card, 500), await world.charge(driver.card, 600)
    hidden = world.steve.state.transactions.pop(first)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 600
    world.steve.state.transactions[first] = hidden
    await world.settle()
    assert world.billed_wh(driver.subscription) == 1_100
    assert (await world.session(second)).billing == "billed"


async def test_more_new_sessions_than_one_request_can_name_are_all_found(world: World) -> None:
    driver = await world.driver()
    for _ in range(450):
        await world.charge(driver.card, 10)
    await world.settle()
    assert world.billed_wh(driver.subscription) == 4_500


async def test_a_manual_stop_waits_and_the_stations_own_value_wins(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    world.stop(transaction, 2_000, actor="manual")
    await world.settle()
    assert (await world.session(transaction)).state == "stopped"
    assert world.billed_wh(driver.subscription) == 0

    world.stop(transaction, 9_000)
    await world.settle()
    assert (await world.session(transaction)).state == "settled"
    assert world.billed_wh(driver.subscription) == 8_000


async def test_a_manual_stop_that_nobody_replaces_settles_after_its_time(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    world.stop(transaction, 2_000, actor="manual")
    await world.settle()
    await world.execute("UPDATE charging_sessions SET settle_after = now() - interval '1 second'")
    await world.settle()
    assert (await world.session(transaction)).state == "settled"
    assert world.billed_wh(driver.subscription) == 1_000


@pytest.mark.parametrize("value", ["NaN", "", "1e4", "-5"])
async def test_a_start_value_that_cannot_be_read_is_quarantined_and_shown_to_operators_only(
    world: World, value: str
) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card, wh=value)
    await world.settle()
    session = await world.session(transaction)
    assert (session.state, session.quarantine_reason) == ("quarantined", "start_value_unreadable")
    assert (session.billing, session.reason) == ("held", "implausible")
    event = await world.row("SELECT audience FROM domain_events WHERE type = 'session.quarantined'")
    assert event.audience == ["operators"]


async def test_an_unreachable_steve_settles_nothing_and_is_reported_as_degraded(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.settle()
    world.stop(transaction, 2_000)
    world.steve.faults.replace([FaultRule(Fault.HTML_502)])
    await world.settle()
    assert (await world.session(transaction)).state == "open"
    health = await world.row("SELECT status, error FROM component_health WHERE component = 'steve'")
    assert (health.status, health.error) == ("degraded", "unreachable")

    world.steve.faults.replace([])
    await world.settle()
    assert world.billed_wh(driver.subscription) == 1_000


async def test_a_refused_password_settles_nothing(world: World) -> None:
    driver = await world.driver()
    transaction = await world.start(driver.card)
    await world.settle()
    world.stop(transaction, 2_000)
    world.steve.credentials.rotate("another-password")
    world.steve.credentials.forget()
    await world.settle()
    assert (await world.session(transaction)).state == "open"
    health = await world.row("SELECT error FROM component_health WHERE component = 'steve'")
    assert health.error == "credentials_refused"


async def test_a_session_vanished_from_steve_keeps_its_history_here(world: World) -> None:
    driver = await world.driver()
    transaction = await world.charge(driver.card, 700)
    await world.settle()
    world.steve.delete_tag(driver.card)
    await world.settle()
    await world.runs.request_run("test")
    await world.runs.run_requested()
    assert (await world.session(transaction)).billed_wh == 700


async def test_the_same_poll_twice_changes_nothing_and_says_nothing_twice(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    await world.settle()
    before = await world.row(
        "SELECT count(*) AS events, sum(revision) AS revisions FROM domain_events, charging_sessions"
    )
    await world.settle()
    after = await world.row(
        "SELECT count(*) AS events, sum(revision) AS revisions FROM domain_events, charging_sessions"
    )
    assert tuple(after) == tuple(before)


async def test_a_run_records_what_it_saw_and_requests_that_wait_together_are_one_run(world: World) -> None:
    driver = await world.driver()
    await world.charge(driver.card, 700)
    first, second = await world.runs.request_run("operator"), await world.runs.request_run("startup")
    assert first == second
    await world.runs.run_requested()
    run = await world.row("SELECT * FROM sync_runs")
    assert (run.status, run.transactions_seen, run.transactions_new, run.error) == ("completed", 1, 1, None)
    assert (await world.row("SELECT count(*) AS n FROM chargers")).n == 1


async def test_a_run_that_fails_says_why_and_the_next_one_works(world: World) -> None:
    world.steve.faults.replace([FaultRule(Fault.RESET)])
    await world.runs.run_if_due()
    assert (await world.row("SELECT status, error FROM sync_runs")).error == "unreachable"
    world.steve.faults.replace([])
    await world.runs.run_if_due()
    assert [run.status for run in await world.rows("SELECT status FROM sync_runs ORDER BY id")] == [
        "failed",
        "completed",
    ]


async def test_a_run_that_a_dead_worker_left_behind_is_marked_failed_by_the_next(world: World) -> None:
    await world.execute("INSERT INTO sync_runs (trigger, status, started_at) VALUES ('operator', 'running', now())")
    await world.runs.request_run("operator")
    await world.runs.run_requested()
    assert [(run.status, run.error) for run in await world.rows("SELECT status, error FROM sync_runs ORDER BY id")] == [
        ("failed", "worker_died"),
        ("completed", None),
    ]


async def test_ten_thousand_tags_are_mirrored_and_deleted_ones_are_kept_as_deleted(world: World) -> None:
    for number in range(10_000):
        world.steve.add_tag(f"TAG{number}")
    await world.runs.run_if_due()
    world.steve.delete_tag("TAG0")
    await world.runs.request_run("operator")
    await world.runs.run_requested()
    counts = await world.row("SELECT count(*) AS n, count(deleted_at) AS gone FROM ocpp_tags")
    assert tuple(counts) == (10_000, 1)


@pytest.mark.parametrize("profile", [Profile.V3_8, Profile.V3_12, Profile.V3_13, Profile.HEAD])
async def test_every_supported_version_of_steve_is_followed(
    database: Database, redis_settings: RedisSettings, profile: Profile
) -> None:
    async with build_world(database, redis_settings, profile=profile) as world:
        driver = await world.driver()
        transaction = await world.start(driver.card)
        await world.settle()
        world.stop(transaction, 4_000)
        await world.runs.run_if_due()
        await world.settle()
        assert world.billed_wh(driver.subscription) == 3_000
        assert (await world.row("SELECT charge_box_id FROM chargers")).charge_box_id == "CP-1"
