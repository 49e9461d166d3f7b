"""What stations and operators do to transactions: late, wrong, twice, never."""

import json
from datetime import timedelta

import pytest
from tests.support.site import NOON, Site

from polaris_common.domain.session_state import Limits
from polaris_common.steve import SteveProtocolError
from sync_worker.transactions import passes


async def test_a_session_longer_than_any_look_back_settles_when_it_stops(any_steve: Site) -> None:
    site = any_steve
    transaction = await site.start(at=NOON - timedelta(days=90))
    await site.runs.live_poll()
    site.stop(transaction, 9_000)
    await site.runs.live_poll()
    assert await site.state(transaction) == ("settled", None)


async def test_an_offline_session_uploaded_after_weeks_is_found_by_its_new_id(any_steve: Site) -> None:
    site = any_steve
    await site.charge()
    await site.in_operation()
    late = await site.start(at=NOON - timedelta(days=40))
    site.steve.stop_transaction(late, 1_700, NOON - timedelta(days=39))
    await site.runs.live_poll()
    assert await site.state(late) == ("settled", None)


async def test_a_stop_with_an_old_time_closes_the_session_it_belongs_to(site: Site) -> None:
    transaction = await site.start(at=NOON - timedelta(days=30))
    await site.in_operation()
    site.steve.stop_transaction(transaction, 4_000, NOON - timedelta(days=29))
    await site.run()
    assert await site.state(transaction) == ("settled", None)


async def test_sessions_that_start_in_the_same_millisecond_are_all_found(site: Site) -> None:
    transactions = [await site.start(box=f"CP-{n}") for n in range(5)]
    await site.runs.live_poll()
    assert [await site.state(each) for each in transactions] == [("open", None)] * 5


async def test_the_same_start_reported_twice_is_one_session_and_a_rounded_one_makes_the_first_a_zombie(
    site: Site,
) -> None:
    first = await site.start()
    assert await site.start() == first
    again = await site.start(at=NOON + timedelta(seconds=1))
    await site.runs.live_poll()
    assert await site.state(first) == ("quarantined", "zombie_superseded")
    assert await site.state(again) == ("open", None)


async def test_a_session_whose_stop_steve_refused_is_found_when_its_connector_begins_another(site: Site) -> None:
    refused = await site.start(5_000)
    await site.runs.live_poll()
    site.stop(refused, 4_000)
    await site.start(6_000, at=NOON + timedelta(hours=2))
    await site.runs.live_poll()
    assert await site.state(refused) == ("quarantined", "zombie_superseded")
    event = await site.row("SELECT audience, payload FROM domain_events WHERE type = 'session.quarantined'")
    assert (event.audience, event.payload["reason"]) == (["operators"], "zombie_superseded")


async def test_another_connector_or_an_earlier_session_makes_no_zombie(site: Site) -> None:
    transaction = await site.start()
    await site.runs.live_poll()
    await site.start(connector=2, at=NOON + timedelta(hours=1))
    await site.charge(at=NOON - timedelta(hours=5))
    await site.runs.live_poll()
    await site.run()
    assert await site.state(transaction) == ("open", None)


async def test_a_zombie_stays_one_while_nothing_is_heard_and_settles_when_its_stop_arrives_after_all(
    site: Site,
) -> None:
    zombie = await site.start()
    await site.start(at=NOON + timedelta(hours=2))
    await site.runs.live_poll()
    await site.runs.live_poll()
    assert await site.state(zombie) == ("quarantined", "zombie_superseded")
    await site.run()
    assert len(await site.rows("SELECT id FROM domain_events WHERE type = 'session.quarantined'")) == 1
    site.stop(zombie, 7_000)
    await site.runs.live_poll()
    assert await site.state(zombie) == ("settled", None)


async def test_an_open_session_that_is_silent_too_long_is_set_aside_and_taken_back_when_it_is_heard_again(
    site: Site,
) -> None:
    transaction = await site.start()
    await site.run()
    assert await site.state(transaction) == ("open", None)
    await site.execute("UPDATE charging_sessions SET created_at = now() - interval '49 hours'")
    await site.run()
    assert await site.state(transaction) == ("quarantined", "zombie_silent")
    await site.read(transaction, (30, 2_000))
    await site.run()
    assert await site.state(transaction) == ("open", None)


async def test_a_start_uploaded_late_is_not_silent_because_it_is_old(site: Site) -> None:
    transaction = await site.start(at=NOON - timedelta(days=20))
    await site.run()
    assert await site.state(transaction) == ("open", None)


async def test_a_stop_at_the_start_value_is_a_settled_session_without_energy(site: Site) -> None:
    transaction = await site.start(1_000)
    site.stop(transaction, 1_000)
    await site.runs.live_poll()
    session = await site.session(transaction)
    assert (session.state, session.stop_wh - session.start_wh) == ("settled", 0)


async def test_a_register_that_starts_at_zero_is_a_register_like_any_other(site: Site) -> None:
    transaction = await site.charge(7_000)
    await site.runs.live_poll()
    session = await site.session(transaction)
    assert (session.state, session.start_wh, session.stop_wh) == ("settled", 0, 7_000)


async def test_a_negative_session_of_an_old_steve_is_set_aside_with_its_reason(old_steve: Site) -> None:
    transaction = await old_steve.start(5_000)
    old_steve.stop(transaction, 4_000)
    await old_steve.runs.live_poll()
    assert await old_steve.state(transaction) == ("quarantined", "negative_energy")


async def test_a_register_that_was_reset_in_the_middle_is_set_aside_although_the_stop_looks_fine(site: Site) -> None:
    transaction = await site.start(50_000)
    await site.read(transaction, (10, 51_000), (20, 52_000), (30, 200), (40, 900))
    site.stop(transaction, 60_000)
    await site.runs.live_poll()
    assert await site.state(transaction) == ("quarantined", "register_reset")
    await site.runs.live_poll()
    await site.run()
    assert await site.state(transaction) == ("quarantined", "register_reset")


async def test_readings_on_another_scale_than_the_start_value_are_no_reset(site: Site) -> None:
    transaction = await site.start(50_000)
    await site.read(transaction, (10, 100), (20, 2_000))
    site.stop(transaction, 52_000)
    await site.runs.live_poll()
    assert await site.state(transaction) == ("settled", None)


@pytest.mark.parametrize(
    ("minutes", "wh", "expected"),
    [
        (60, 400_000, ("settled", None)),
        (10, 300_000, ("quarantined", "over_max_power")),
        (6_000, 1_000_001, ("quarantined", "too_much_energy")),
    ],
)
async def test_more_energy_than_fits_into_the_time_or_into_any_car_is_set_aside(
    site: Site, minutes: float, wh: int, expected: tuple[str, str | None]
) -> None:
    transaction = await site.start(0)
    site.stop(transaction, wh, minutes=minutes)
    await site.runs.live_poll()
    assert await site.state(transaction) == expected


async def test_an_operator_can_lower_the_highest_believable_power(site: Site) -> None:
    site = site.restarted(limits=Limits(max_power_w=11_000))
    transaction = await site.start(0)
    site.stop(transaction, 20_000)
    await site.runs.live_poll()
    assert await site.state(transaction) == ("quarantined", "over_max_power")


@pytest.mark.parametrize(("value", "wh"), [("1000.9", 1_000), ("0012", 12)])
async def test_odd_spellings_of_a_number_are_read_exactly(site: Site, value: str, wh: int) -> None:
    transaction = await site.start(value)
    await site.runs.live_poll()
    assert (await site.session(transaction)).start_wh == wh


@pytest.mark.parametrize("value", ["", "OCMF|{}|{}", "1e9", "-1"])
async def test_a_stop_value_that_is_no_number_is_set_aside(old_steve: Site, value: str) -> None:
    transaction = await old_steve.start(0)
    old_steve.stop(transaction, value)
    await old_steve.runs.live_poll()
    assert await old_steve.state(transaction) == ("quarantined", "stop_value_unreadable")


async def test_the_last_of_several_station_stops_wins_in_an_old_steve(old_steve: Site) -> None:
    transaction = await old_steve.start(0)
    old_steve.stop(transaction, 1_000)
    await old_steve.run()
    old_steve.stop(transaction, 3_000)
    await old_steve.execute("UPDATE sync_schedule SET nightly_pass_on = NULL")
    await old_steve.run()
    assert (await old_steve.session(transaction)).stop_wh == 3_000


async def test_a_stations_stop_that_replaces_a_manual_one_after_weeks_adjusts_the_session(site: Site) -> None:
    transaction = await site.start(0, at=NOON - timedelta(days=200))
    site.stop(transaction, 1_500, actor="manual")
    await site.in_operation()
    await site.execute("UPDATE charging_sessions SET settle_after = now() - interval '20 days'")
    await site.runs.live_poll()
    assert await site.state(transaction) == ("settled", None)

    site.steve.stop_transaction(transaction, 9_000, NOON - timedelta(days=150))
    await site.run()
    session = await site.session(transaction)
    assert (session.state, session.stop_wh, session.stop_actor) == ("settled", 9_000, "station")


async def test_a_settled_session_keeps_its_value_when_the_new_one_is_not_believable_and_the_run_says_so(
    old_steve: Site,
) -> None:
    site = old_steve
    transaction = await site.start(5_000)
    site.stop(transaction, 6_000)
    await site.run()
    site.stop(transaction, 10)
    await site.execute("UPDATE sync_schedule SET nightly_pass_on = NULL")
    run = await site.run()
    session = await site.session(transaction)
    assert (session.state, session.stop_wh) == ("settled", 6_000)
    segment = await site.segment(run.id, "transaction_sync")
    assert (segment.status, segment.held) == ("warning", 1)


async def test_a_vanished_open_session_waits_for_a_person_and_a_settled_one_stays_as_it_is(site: Site) -> None:
    settled, running = await site.charge(), await site.start(at=NOON + timedelta(hours=3))
    await site.in_operation()
    site.steve.delete_tag("CARD0001")
    await site.runs.live_poll()
    assert await site.state(running) == ("quarantined", "vanished_in_steve")
    await site.execute("UPDATE sync_schedule SET nightly_pass_on = NULL")
    site.steve.add_tag("OTHER", max_active_transaction_count=-1)
    await site.charge(card="OTHER")
    await site.run()
    kept = await site.session(settled)
    assert (kept.state, kept.stop_wh, kept.vanished_at is not None) == ("settled", 1_000, True)


async def test_a_vanished_session_with_a_manual_stop_settles_since_nothing_can_replace_it_any_more(
    site: Site,
) -> None:
    transaction = await site.start(0)
    site.stop(transaction, 2_000, actor="manual")
    await site.runs.live_poll()
    assert await site.state(transaction) == ("stopped", None)
    site.steve.delete_charge_box("CP-1")
    await site.runs.live_poll()
    assert await site.state(transaction) == ("settled", None)


async def test_a_session_that_reappears_is_no_longer_vanished(site: Site) -> None:
    transaction = await site.start()
    await site.in_operation()
    row = site.steve.state.transactions.pop(transaction)
    site.steve.state.active.pop(transaction)
    await site.runs.live_poll()
    assert (await site.session(transaction)).vanished_at is not None
    site.steve.state.transactions[transaction] = site.steve.state.active[transaction] = row
    await site.runs.live_poll()
    session = await site.session(transaction)
    assert (session.state, session.vanished_at) == ("open", None)


async def test_a_table_that_comes_back_empty_makes_nothing_vanish(site: Site) -> None:
    transaction = await site.charge()
    await site.in_operation()
    site.steve.state.transactions.clear()
    await site.execute("UPDATE sync_schedule SET nightly_pass_on = NULL")
    run = await site.run()
    assert (await site.session(transaction)).vanished_at is None
    assert (await site.segment(run.id, "transaction_sync")).status == "warning"


async def test_one_row_that_cannot_be_read_is_counted_and_holds_back_no_other(site: Site) -> None:
    first, second = await site.charge(), await site.charge(at=NOON + timedelta(hours=2))
    site.steve.transaction(first).json_row = json.dumps({"id": first, "startTimestamp": None})
    run = await site.run()
    assert await site.state(second) == ("settled", None)
    segment = await site.segment(run.id, "transaction_sync")
    assert (run.status, segment.status, segment.seen, segment.new, segment.failed) == ("completed", "warning", 2, 1, 1)


async def test_a_steve_whose_database_was_replaced_overwrites_none_of_our_sessions(site: Site) -> None:
    transaction = await site.charge(4_000)
    await site.in_operation()
    other = site.steve.add_charge_box("CP-9")
    reused = site.steve.transaction(transaction)
    reused.charge_box, reused.start_timestamp, reused.json_row = other, NOON + timedelta(days=9), None
    await site.execute("UPDATE sync_schedule SET nightly_pass_on = NULL")
    await site.run()
    sessions = await site.rows("SELECT * FROM charging_sessions ORDER BY id")
    assert [(each.charge_box_id, each.former_transaction_id) for each in sessions] == [
        ("CP-1", transaction),
        ("CP-9", None),
    ]
    assert [each.steve_transaction_id for each in sessions] == [-sessions[0].id, transaction]


async def test_a_session_of_an_unmapped_tag_is_recorded_and_finds_its_owner_later(site: Site) -> None:
    transaction = await site.charge()
    await site.run()
    assert (await site.session(transaction)).tag_mapping_id is None
    await site.execute("INSERT INTO tag_mappings (id_tag) VALUES ('card0001')")
    await site.run()
    assert (await site.session(transaction)).tag_mapping_id is not None


async def test_a_report_that_cannot_be_read_spoils_no_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of its columns are SteVe's to change; what it would have shown is in the list of the last 30 days."""

    async def unreadable(*_: object) -> None:
        raise SteveProtocolError("columns with other names")

    await site.in_operation()
    monkeypatch.setattr(passes, "stop_report", unreadable)
    transaction = await site.charge(4_000)
    await site.run()
    run = await site.row("SELECT status, error FROM sync_runs ORDER BY id DESC LIMIT 1")
    assert tuple(run) == ("completed", None)
    assert await site.state(transaction) == ("settled", None)
