"""Finding what changed: by id, by the report, by a whole pass, and never by start times alone."""

import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tests.support.site import NOON, Site, build_site

from polaris_common.db import Database
from polaris_common.settings import RedisSettings
from polaris_common.steve import SteveClient, SteveUnavailable
from polaris_common.steve.transaction_calls import stop_report
from polaris_common.steve.wire import SteveReportedStop
from polaris_sim.faults import Fault, FaultRule
from polaris_sim.steve import Profile

TABLE = "/transactions$"


async def _settled(site: Site) -> int:
    row = await site.row("SELECT count(*) AS n FROM charging_sessions WHERE state = 'settled'")
    return int(row.n)


async def test_a_session_between_two_polls_is_found_in_every_version(any_steve: Site) -> None:
    site = any_steve
    await site.charge()
    await site.in_operation()
    for hour in range(1, 8):
        await site.charge(at=NOON + timedelta(hours=hour))
    await site.runs.live_poll()
    assert await _settled(site) == 8


async def test_a_poll_without_news_is_two_requests(site: Site) -> None:
    await site.charge()
    await site.in_operation()
    await site.runs.live_poll()
    assert len(site.requests.paths) == 2


async def test_a_run_without_news_writes_no_session(site: Site) -> None:
    await site.charge()
    await site.start(at=NOON + timedelta(hours=2))
    await site.in_operation()
    query = "SELECT xmin, revision FROM charging_sessions ORDER BY id"
    before = await site.rows(query)
    for _ in range(2):
        await site.run()
        await site.execute("UPDATE sync_schedule SET nightly_pass_on = NULL")
    assert await site.rows(query) == before


async def test_a_session_above_many_that_have_vanished_is_found_between_two_polls(any_steve: Site) -> None:
    """A card was deleted, and with it all that it had charged."""
    site = any_steve
    await site.charge()
    for hour in range(1, 106):
        await site.charge(card="GONE", at=NOON + timedelta(hours=hour))
    await site.in_operation()
    site.steve.delete_tag("GONE")
    await site.execute("UPDATE sync_schedule SET nightly_pass_on = NULL")
    await site.run()
    new = await site.charge(at=NOON + timedelta(days=9))
    await site.runs.live_poll()
    assert await site.state(new) == ("settled", None)


async def test_an_id_that_became_visible_after_higher_ones_is_found(site: Site) -> None:
    first, second = await site.charge(), await site.charge(at=NOON + timedelta(hours=2))
    hidden = site.steve.state.transactions.pop(first)
    await site.runs.live_poll()
    assert await _settled(site) == 1
    site.steve.state.transactions[first] = hidden
    await site.runs.live_poll()
    assert await site.state(first) == await site.state(second) == ("settled", None)


@pytest.mark.parametrize("profile", [Profile.V3_8, Profile.V3_12])
async def test_a_poll_that_finds_a_backlog_leaves_it_to_a_run_and_nothing_below_is_missed(
    database: Database, redis_settings: RedisSettings, profile: Profile
) -> None:
    async with build_site(database, redis_settings, profile) as site:
        await site.charge()
        await site.in_operation()
        for minute in range(5_500):
            await site.charge(at=NOON + timedelta(minutes=61 + minute))
        running = await site.start(at=NOON + timedelta(days=30))
        await site.runs.live_poll()
        assert await site.state(running) == ("open", None)
        waiting = await site.row("SELECT trigger FROM sync_runs WHERE status = 'requested'")
        assert waiting.trigger == "backlog"
        await site.runs.run_requested()
        assert await _settled(site) == 5_501


async def test_a_whole_pass_that_breaks_off_concludes_nothing_and_is_still_owed(site: Site) -> None:
    for hour in range(0, 20, 2):
        await site.charge(at=NOON + timedelta(hours=hour))
    await site.in_operation()
    await site.execute("UPDATE sync_schedule SET nightly_pass_on = NULL")
    vanishing = max(site.steve.state.transactions)
    del site.steve.state.transactions[vanishing]
    site.steve.faults.replace([FaultRule(Fault.TRUNCATED, path=TABLE)])
    assert (await site.run()).error == "unreachable"
    assert (await site.session(vanishing)).vanished_at is None

    site.steve.faults.replace([])
    assert (await site.run()).status == "completed"
    assert (await site.session(vanishing)).vanished_at is not None


async def test_the_whole_table_is_read_once_a_day(site: Site) -> None:
    await site.charge()
    await site.run()
    await site.run()
    whole = [path for path in site.requests.paths if "periodType=ALL" in path]
    assert len(whole) == 1


async def test_the_nightly_pass_catches_what_nothing_else_shows(site: Site) -> None:
    transaction = await site.charge(5_000)
    await site.in_operation()
    site.steve.transaction(transaction).start_value = "1000"
    site.steve.transaction(transaction).json_row = None
    await site.run()
    assert (await site.session(transaction)).start_wh == 0
    await site.execute("UPDATE sync_schedule SET nightly_pass_on = nightly_pass_on - 2")
    await site.run()
    assert (await site.session(transaction)).start_wh == 1_000


async def test_a_changed_stop_of_a_closed_session_shows_in_the_report_by_stop_time(site: Site) -> None:
    began = site.steve.clock.now() - timedelta(hours=3)
    transaction = await site.charge(1_000, at=began)
    await site.in_operation()
    stops = site.steve.transaction(transaction).stops
    site.steve.state.add_stop(
        site.steve.transaction(transaction),
        stops[0].__class__(stops[0].event_timestamp, stops[0].event_actor, stops[0].stop_timestamp, "8000"),
    )
    await site.run()
    assert (await site.session(transaction)).stop_wh == 8_000


async def test_a_report_with_finer_times_than_the_list_has_shows_no_change(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SteVe keeps microseconds, and its list shows milliseconds."""
    for hours in (6, 3):  # whatever SteVe is, ids 0 and 1 are asked for to find out
        transaction = await site.charge(1_000, at=site.steve.clock.now() - timedelta(hours=hours))
    await site.in_operation()

    async def finer(steve: SteveClient, since: datetime, until: datetime) -> list[SteveReportedStop]:
        fine = timedelta(microseconds=321)
        stops = await stop_report(steve, since, until)
        return [replace(each, stop_timestamp=each.stop_timestamp + fine) for each in stops]

    monkeypatch.setattr("sync_worker.transactions.passes.stop_report", finer)
    await site.run()
    assert [path for path in site.requests.paths if "reports/csv" in path]
    assert not [path for path in site.requests.paths if re.search(rf"transactionPk={transaction}(&|$)", path)]


async def test_without_the_report_a_run_reads_recent_starts_besides(
    database: Database, redis_settings: RedisSettings
) -> None:
    async with build_site(database, redis_settings, Profile.V3_8) as site:
        began = site.steve.clock.now() - timedelta(hours=3)
        transaction = await site.charge(1_000, at=began)
        await site.in_operation()
        site.steve.stop_transaction(transaction, 8_000, began + timedelta(hours=2))
        await site.run()
        assert (await site.session(transaction)).stop_wh == 8_000


async def test_a_steve_in_another_zone_shifts_no_session(database: Database, redis_settings: RedisSettings) -> None:
    async with build_site(database, redis_settings, zone_offset_hours=5.5) as site:
        transaction = await site.charge(at=NOON)
        await site.run()
        session = await site.session(transaction)
        assert (session.started_at, session.stopped_at) == (NOON, NOON + timedelta(hours=1))


async def test_sessions_that_ended_before_we_first_looked_are_history_and_no_news(site: Site) -> None:
    await site.charge()
    running = await site.start(at=NOON + timedelta(hours=2))
    await site.run()
    events = await site.rows("SELECT type, payload FROM domain_events WHERE type LIKE 'session.%'")
    assert [(event.type, event.payload["transactionId"]) for event in events] == [("session.started", running)]

    await site.charge(box="CP-2")
    await site.run()
    events = await site.rows("SELECT type FROM domain_events WHERE type LIKE 'session.%' ORDER BY created_at, id")
    assert [event.type for event in events] == ["session.started", "session.started", "session.stopped"]


async def test_an_unreachable_steve_ends_or_loses_no_session(site: Site) -> None:
    transaction = await site.start()
    await site.in_operation()
    site.stop(transaction, 3_000)
    site.steve.faults.replace([FaultRule(Fault.ERROR_BEFORE, status=503)])
    with pytest.raises(SteveUnavailable):
        await site.transactions.poll()
    assert await site.state(transaction) == ("open", None)


async def test_ids_in_the_thousands_that_are_to_be_reread_stay_within_short_addresses(site: Site) -> None:
    await site.in_operation()
    running = [await site.start(box=f"CP-{n}") for n in range(600)]
    await site.runs.live_poll()
    for transaction in running:
        site.stop(transaction, 2_000)
    site.requests.paths.clear()
    await site.runs.live_poll()
    assert await _settled(site) == 600
    assert max(map(len, site.requests.paths)) < 8_192
