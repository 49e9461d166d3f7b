"""Writing a tag changes its limit and nothing else, whatever SteVe's PUT makes of what is left out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.tag_city import TagCity

from polaris_common.steve import SteveRefused, SteveUnavailable
from polaris_common.steve.tag_calls import NewTag, create_tag, replace_tag, tag_by_id
from polaris_sim.faults import Fault, FaultRule
from sync_worker.tags.steve_writer import WriteResult, set_limit

LIST = r"/ocppTags$"
ONE = r"/ocppTags/\d+$"


async def test_every_other_field_survives_being_blocked_and_opened_again(city: TagCity) -> None:
    expiry = datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    city.steve.add_tag("PARENT", max_active_transaction_count=-1)
    await city.card("CARD", parent_id_tag="PARENT", expiry_date=expiry, note="  Anna's: 50 % \u00fc ", user_pk=9)
    await city.switch_off("CARD")
    await city.tags.sync_tags(["CARD"])
    await city.switch_on("CARD")
    await city.tags.sync_tags(["CARD"])

    tag = city.steve.tag("CARD")
    assert await city.changes("CARD") == [("deactivated", "inactive"), ("activated", "linked")]
    assert (tag.parent_id_tag, tag.expiry_date, tag.note, tag.user_pk) == (
        "PARENT",
        expiry,
        "Anna's: 50 % \u00fc",
        9,
    )


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    limit=st.integers(-1, 3),
    parent=st.booleans(),
    expires=st.booleans(),
    note=st.sampled_from([None, "n", "two\nlines", "\u20ac"]),
)
async def test_an_omitted_field_of_a_put_never_unblocks_a_tag(
    city: TagCity, *, limit: int, parent: bool, expires: bool, note: str | None
) -> None:
    city.steve.add_tag("PARENT")
    expiry = city.clock.now() + timedelta(days=9) if expires else None
    city.steve.add_tag(
        "CARD",
        max_active_transaction_count=limit,
        parent_id_tag="PARENT" if parent else None,
        expiry_date=None if expiry is None else expiry.replace(microsecond=0),
        note=note,
    )
    before = await tag_by_id(city.client, "CARD")
    assert before is not None
    write = await set_limit(city.client, before, 0)
    assert write.after == replace(before, max_active_transaction_count=0) == await tag_by_id(city.client, "card")
    assert await city.tap("CARD") == "Blocked"


async def test_an_edit_made_in_steve_after_the_list_was_read_is_kept(city: TagCity) -> None:
    """The predecessor sent its own, old copy of parent, note and expiry."""
    await city.card("CARD", limit=0, note="old")
    listed = await tag_by_id(city.client, "CARD")
    assert listed is not None
    city.steve.add_tag("CARD", max_active_transaction_count=0, note="new")
    await set_limit(city.client, listed, -1)
    assert city.steve.tag("CARD").note == "new"


async def test_a_tag_that_got_another_parent_meanwhile_is_decided_again(city: TagCity) -> None:
    await city.card("CARD", limit=0)
    city.steve.add_tag("PARENT")
    listed = await tag_by_id(city.client, "CARD")
    assert listed is not None
    city.steve.add_tag("CARD", max_active_transaction_count=0, parent_id_tag="PARENT")
    city.requests.log.clear()
    assert (await set_limit(city.client, listed, -1)).result is WriteResult.MOVED
    assert city.requests.writes == 0


async def test_an_edit_right_after_our_write_is_logged(city: TagCity, capsys: pytest.CaptureFixture[str]) -> None:
    await city.card("CARD", limit=0)
    listed = await tag_by_id(city.client, "CARD")
    assert listed is not None

    async def operator_edits(method: str, path: str) -> None:
        if method == "GET" and city.limit("CARD") == -1:
            city.steve.add_tag("CARD", max_active_transaction_count=-1, note="edited")

    city.requests.before = operator_edits
    city.steve.faults.replace([FaultRule(Fault.RESET_AFTER, method="PUT")])
    assert (await set_limit(city.client, listed, -1)).result is WriteResult.WRITTEN
    assert "tag_changed_by_others" in capsys.readouterr().out


@pytest.mark.parametrize("fault", [Fault.RESET_AFTER, Fault.ERROR_AFTER, Fault.TRUNCATED])
async def test_a_put_whose_answer_is_lost_is_looked_up_and_not_sent_again(city: TagCity, fault: Fault) -> None:
    await city.card("CARD", limit=0)
    city.steve.faults.replace([FaultRule(fault, method="PUT")])
    outcome = await city.tags.reconcile_tags()
    assert (outcome.activated, outcome.failed) == (1, 0)
    assert city.requests.writes == 1
    assert await city.changes("CARD") == [("activated", "linked")]


async def test_a_put_that_never_arrived_counts_as_failed_and_is_made_by_the_next_run(city: TagCity) -> None:
    await city.card("CARD", limit=0)
    city.steve.faults.replace([FaultRule(Fault.RESET, method="PUT")])
    outcome = await city.tags.reconcile_tags()
    assert (outcome.activated, outcome.failed, city.limit("CARD")) == (0, 1, 0)
    assert city.requests.writes == 1
    city.steve.faults.replace([])
    assert (await city.tags.reconcile_tags()).activated == 1


async def test_an_expired_tag_is_left_as_it_is_and_stays_expired(city: TagCity) -> None:
    """Sending its expiry back is a 400; leaving it out would make an expired tag valid."""
    expiry = city.clock.now() + timedelta(hours=1)
    await city.card("OFF", expiry_date=expiry)
    await city.card("ON", limit=0, expiry_date=expiry)
    await city.switch_off("OFF")
    city.clock.advance(7_200)

    outcome = await city.tags.reconcile_tags()

    assert (outcome.changed, outcome.held, outcome.failed, city.requests.writes) == (0, 2, 0, 0)
    assert (city.limit("OFF"), city.limit("ON")) == (-1, 0)
    assert [city.steve.tag(tag).expiry_date for tag in ("OFF", "ON")] == [expiry, expiry]
    assert await city.tap("OFF") == "Expired"


async def test_a_disabled_card_whose_expiry_is_extended_is_blocked_by_the_next_run(city: TagCity) -> None:
    await city.card("CARD", expiry_date=city.clock.now() + timedelta(hours=1))
    await city.switch_off("CARD")
    city.clock.advance(7_200)
    await city.tags.reconcile_tags()
    city.steve.tag("CARD").expiry_date = city.clock.now() + timedelta(days=1)
    await city.tags.reconcile_tags()
    assert await city.tap("CARD") == "Blocked"


async def test_a_tag_that_expires_just_before_the_write_is_left_as_it_is(city: TagCity) -> None:
    expiry = city.clock.now() + timedelta(hours=1)
    await city.card("CARD", limit=0, expiry_date=expiry)
    listed = await tag_by_id(city.client, "CARD")
    assert listed is not None
    city.clock.advance(7_200)
    assert (await set_limit(city.client, listed, -1)).result is WriteResult.EXPIRED
    assert (city.limit("CARD"), city.steve.tag("CARD").expiry_date) == (0, expiry)


async def test_a_tag_deleted_meanwhile_is_gone_and_no_failure(city: TagCity) -> None:
    await city.card("CARD", limit=0)
    listed = await tag_by_id(city.client, "CARD")
    assert listed is not None
    city.steve.delete_tag("CARD")
    assert (await set_limit(city.client, listed, -1)).result is WriteResult.GONE


async def test_one_tag_that_steve_refuses_does_not_stop_the_others(city: TagCity) -> None:
    for number in range(3):
        await city.card(f"CARD{number}", limit=0)
    city.steve.faults.replace([FaultRule(Fault.ERROR_BEFORE, method="PUT", times=1, status=400)])
    outcome = await city.tags.reconcile_tags()
    assert (outcome.activated, outcome.failed) == (2, 1)


async def test_a_tag_that_exists_already_is_found_and_not_made_again(city: TagCity) -> None:
    city.steve.add_tag("There", note="mine")
    tag, created = await create_tag(city.client, NewTag("THERE", 0))
    assert (tag.id_tag, tag.note, created) == ("There", "mine", False)


@pytest.mark.parametrize("fault", [Fault.RESET_AFTER, Fault.ERROR_AFTER])
async def test_a_post_whose_answer_is_lost_is_looked_up_and_not_sent_again(city: TagCity, fault: Fault) -> None:
    city.steve.faults.replace([FaultRule(fault, method="POST")])
    tag, created = await create_tag(city.client, NewTag("NEW", 0))
    assert (tag.id_tag, created, city.requests.writes) == ("NEW", True, 1)


async def test_a_post_that_never_arrived_is_an_outage(city: TagCity) -> None:
    city.steve.faults.replace([FaultRule(Fault.RESET, method="POST")])
    with pytest.raises(SteveUnavailable):
        await create_tag(city.client, NewTag("NEW", 0))
    assert city.requests.writes == 1


async def test_an_unknown_parent_is_told_from_a_duplicate_although_steve_answers_the_same(city: TagCity) -> None:
    with pytest.raises(SteveRefused) as refusal:
        await create_tag(city.client, NewTag("NEW", 0, parent_id_tag="NOBODY"))
    assert refusal.value.status == 422


async def test_times_go_to_steve_in_utc_with_milliseconds(city: TagCity) -> None:
    city.steve.add_tag("CARD")
    tag = await tag_by_id(city.client, "CARD")
    assert tag is not None
    expiry = datetime(2031, 6, 1, 12, 0, 0, 123_456, tzinfo=UTC)
    assert (await replace_tag(city.client, replace(tag, expiry_date=expiry))).expiry_date == expiry.replace(
        microsecond=123_000
    )


@pytest.mark.parametrize("path", [LIST])
async def test_a_truncated_list_concludes_nothing(city: TagCity, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0.0)
    await city.card("CARD")
    city.steve.add_tag("STRANGER")
    city.steve.faults.replace([FaultRule(Fault.TRUNCATED, path=path)])
    with pytest.raises(SteveUnavailable):
        await city.tags.reconcile_tags()
    assert (city.limit("STRANGER"), await city.rows("SELECT * FROM ocpp_tags")) == (1, [])
