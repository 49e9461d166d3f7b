"""Every tag's limit in SteVe follows its mapping, its parents and its subscription."""

import time

import pytest
from tests.support.tag_city import TagCity, build_city

from polaris_common.db import Database
from polaris_common.interruption import Interrupted, Interruption, interruptible_by
from polaris_common.models import SyncRun
from polaris_sim.faults import Fault, FaultRule
from polaris_sim.steve import Profile
from sync_worker.tags.outcome import TagOutcome
from sync_worker.tags.service import TagPolicy


async def test_a_linked_card_is_opened_and_a_card_without_subscription_is_not(city: TagCity) -> None:
    await city.card("PAYS", limit=0)
    city.steve.add_tag("NOT")
    await city.map("NOT", "other")
    await city.subscribe("other", status="terminated")

    outcome = await city.tags.reconcile_tags()

    assert (city.limit("PAYS"), city.limit("NOT")) == (-1, 0)
    assert (outcome.seen, outcome.changed, outcome.activated, outcome.deactivated) == (2, 2, 1, 1)
    assert await city.changes("PAYS") == [("activated", "linked")]
    assert await city.changes("NOT") == [("deactivated", "no_subscription")]


async def test_a_tag_inherits_in_whatever_case_its_parent_is_named(city: TagCity) -> None:
    await city.card("Fob-Parent")
    city.steve.add_tag("CHILD", max_active_transaction_count=0, parent_id_tag="FOB-PARENT")
    await city.execute("UPDATE tag_mappings SET id_tag = 'fob-PARENT'")
    await city.tags.reconcile_tags()
    assert city.limit("CHILD") == -1


async def test_an_inactive_card_does_not_inherit_from_its_active_parent(city: TagCity) -> None:
    await city.card("PARENT")
    await city.card("CARD", parent_id_tag="PARENT")
    await city.switch_off("CARD")
    await city.tags.reconcile_tags()
    assert (city.limit("CARD"), await city.tap("CARD")) == (0, "Blocked")
    assert city.limit("PARENT") == -1


async def test_a_tag_that_nobody_knows_is_blocked_and_a_protected_one_is_not(city: TagCity) -> None:
    await city.card("CARD")
    city.steve.add_tag("STRANGER")
    city.steve.add_tag("Maintenance")
    city.with_policy(TagPolicy(protected=frozenset({"MAINTENANCE"})))
    await city.tags.reconcile_tags()
    assert (city.limit("STRANGER"), city.limit("Maintenance")) == (0, 1)


async def test_a_person_can_switch_even_a_protected_tag_off(city: TagCity) -> None:
    await city.card("CARD")
    await city.switch_off("CARD", "reported_lost")
    city.with_policy(TagPolicy(protected=frozenset({"CARD"})))
    await city.tags.reconcile_tags()
    assert city.limit("CARD") == 0


async def test_meta_tag_and_tag_sync_never_undo_each_other(city: TagCity) -> None:
    """The predecessor's two rules wrote 1 and -1 in turn, and each write counted as activity."""
    user = await city.user("customer")
    await city.card("CARD")
    await city.tags.reconcile_tags()
    await city.tags.ensure_meta_tag(user)
    await city.tags.sync_changed_mappings()
    name = await city.meta_tag_name(user)
    logged = await city.changes(name)

    city.requests.log.clear()
    for _ in range(3):
        await city.tags.ensure_meta_tag(user)
        await city.tags.reconcile_tags()
        await city.tags.sync_changed_mappings()

    assert city.limit(name) == 1
    assert city.requests.writes == 0
    assert await city.changes(name) == logged


async def test_an_unreachable_lago_keeps_the_last_known_state(city: TagCity) -> None:
    await city.lago_was_read(minutes_ago=-10)
    await city.card("OPEN")
    city.steve.add_tag("CLOSED", max_active_transaction_count=0)
    await city.map("CLOSED", "stranger")
    await city.tags.reconcile_tags()
    await city.lago_was_read(minutes_ago=60 * 24)

    city.requests.log.clear()
    await city.tags.reconcile_tags()

    assert (city.limit("OPEN"), city.limit("CLOSED")) == (-1, 0)
    assert city.requests.writes == 0


async def test_a_lago_that_was_never_read_blocks_and_opens_nothing(city: TagCity) -> None:
    for number, limit in enumerate([-1, 0, 1]):
        city.steve.add_tag(f"CARD{number}", max_active_transaction_count=limit)
        await city.map(f"CARD{number}")
    await city.tags.reconcile_tags()
    assert city.limits("CARD") == [-1, 0, 1]


async def test_a_card_linked_after_lago_was_last_read_is_not_blocked_for_want_of_a_subscription(city: TagCity) -> None:
    await city.lago_was_read()
    city.steve.add_tag("NEW")
    await city.map("NEW", "brand-new")
    await city.tags.reconcile_tags()
    assert city.limit("NEW") == 1

    await city.lago_was_read(minutes_ago=-10)
    await city.tags.reconcile_tags()
    assert city.limit("NEW") == 0


async def test_a_subscription_that_starts_does_not_reopen_a_card_a_person_switched_off(city: TagCity) -> None:
    await city.card("CARD", "customer")
    await city.subscribe("customer", status="terminated")
    await city.switch_off("CARD")
    await city.tags.reconcile_tags()
    await city.subscribe("customer", status="active")
    await city.tags.reconcile_tags()
    await city.tags.sync_tags(["CARD"])
    assert city.limit("CARD") == 0


async def test_a_customers_inherited_tags_stop_with_the_subscription(city: TagCity) -> None:
    await city.card("PARENT")
    city.steve.add_tag("CHILD", max_active_transaction_count=-1, parent_id_tag="PARENT")
    await city.subscribe("customer", status="terminated")
    await city.tags.reconcile_tags()
    assert (city.limit("PARENT"), city.limit("CHILD")) == (0, 0)


async def test_ten_thousand_tags_with_nothing_to_change_cost_one_list_and_no_write(city: TagCity) -> None:
    await city.subscribe("customer")
    for number in range(10_000):
        city.steve.add_tag(f"TAG{number}", max_active_transaction_count=-1)
    await city.execute(
        "INSERT INTO tag_mappings (id_tag, lago_customer_external_id)"
        " SELECT 'TAG' || n, 'customer' FROM generate_series(0, 9999) n"
    )
    await city.tags.reconcile_tags()

    city.requests.log.clear()
    begin = time.perf_counter()
    outcome = await city.tags.reconcile_tags()
    seconds = time.perf_counter() - begin

    assert city.requests.log == ["GET"]
    assert (outcome.seen, outcome.changed, outcome.held, outcome.failed) == (10_000, 0, 0, 0)
    assert await city.rows("SELECT * FROM tag_change_log") == []
    assert seconds < 20


async def test_a_run_is_named_in_what_it_changed(city: TagCity) -> None:
    await city.card("CARD", limit=0)
    async with city.database.unit_of_work() as uow:
        run = SyncRun(trigger="test")
        uow.session.add(run)
        await uow.session.flush()
    await city.tags.reconcile_tags(run.id)
    change = await city.row("SELECT * FROM tag_change_log")
    assert (change.sync_run_id, change.before, change.after) == (
        run.id,
        {"maxActiveTransactionCount": 0, "parentIdTag": None, "expiryDate": None, "note": None},
        {"maxActiveTransactionCount": -1, "parentIdTag": None, "expiryDate": None, "note": None},
    )


async def test_an_edit_in_steve_is_logged_as_seen_and_a_first_look_is_not(city: TagCity) -> None:
    await city.card("CARD")
    await city.tags.reconcile_tags()
    assert await city.changes("CARD") == []
    city.steve.add_tag("CARD", max_active_transaction_count=-1, note="spare")
    city.steve.add_tag("NEW", max_active_transaction_count=0)
    await city.tags.reconcile_tags()
    assert await city.changes("CARD") == [("updated", "seen_in_steve")]
    assert await city.changes("NEW") == [("created", "seen_in_steve")]


async def test_a_mapping_learns_the_new_pk_of_a_tag_that_was_made_again(city: TagCity) -> None:
    await city.card("CARD")
    await city.tags.reconcile_tags()
    city.steve.delete_tag("CARD")
    again = city.steve.add_tag("card", max_active_transaction_count=-1)
    await city.tags.reconcile_tags()
    assert (await city.row("SELECT ocpp_tag_pk FROM tag_mappings")).ocpp_tag_pk == again.ocpp_tag_pk


async def test_switched_off_the_sync_mirrors_and_writes_nothing(city: TagCity) -> None:
    await city.card("CARD", limit=0)
    city.with_policy(TagPolicy(enabled=False))
    outcome = await city.tags.reconcile_tags()
    await city.tags.sync_changed_mappings()
    assert (outcome.seen, outcome.warnings, city.requests.writes) == (1, ["tag_sync_disabled"], 0)


async def test_a_steve_that_stops_answering_in_the_middle_ends_the_run_and_the_next_one_completes_it(
    city: TagCity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0.0)
    for number in range(10):
        await city.card(f"CARD{number}", limit=0)
    city.steve.faults.replace([FaultRule(Fault.HTML_502, path=r"/ocppTags/\d+")])
    outcome = await city.tags.reconcile_tags()
    assert (outcome.failed, outcome.changed, outcome.warnings) == (10, 0, ["steve_unreachable"])

    city.steve.faults.replace([])
    assert (await city.tags.reconcile_tags()).activated == 10


@pytest.mark.parametrize("profile", [Profile.V3_8, Profile.V3_11, Profile.V3_13, Profile.HEAD])
async def test_every_supported_version_of_steve_is_kept_in_step(database: Database, profile: Profile) -> None:
    async with build_city(database, profile) as city:
        await city.card("CARD", limit=0)
        city.steve.add_tag("STRANGER", note="found")
        await city.tags.reconcile_tags()
        assert (city.limit("CARD"), city.limit("STRANGER")) == (-1, 0)
        assert city.steve.tag("STRANGER").note == "found"


async def test_a_write_that_has_begun_is_finished_and_counted_when_the_run_is_cancelled_and_no_other_begins(
    city: TagCity,
) -> None:
    for name in ("ONE", "TWO", "THREE"):
        await city.card(name, limit=0)
    signal, outcome = Interruption(), TagOutcome()

    async def cancel(method: str, path: str) -> None:
        if method == "PUT":
            signal.give()

    city.requests.before = cancel
    with interruptible_by(signal), pytest.raises(Interrupted):
        await city.tags.reconcile_tags(outcome=outcome)

    assert (city.requests.writes, outcome.seen, outcome.activated) == (1, 3, 1)
    assert sorted(city.limit(name) for name in ("ONE", "TWO", "THREE")) == [-1, 0, 0]
    assert [await city.changes(name) for name in ("ONE", "TWO", "THREE")].count([("activated", "linked")]) == 1

    assert (await city.tags.reconcile_tags()).activated == 2
