"""A change to a mapping reaches SteVe within seconds, without a run."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.tag_city import TagCity

from polaris_common.steve import SteveUnavailable
from polaris_sim.faults import Fault, FaultRule


async def test_a_lost_card_is_refused_after_the_next_sweep(city: TagCity) -> None:
    await city.card("CARD")
    await city.tags.sync_changed_mappings()
    await city.switch_off("CARD", "reported_lost")
    outcome = await city.tags.sync_changed_mappings()
    assert (outcome.deactivated, await city.tap("CARD")) == (1, "Blocked")
    assert await city.changes("CARD") == [("deactivated", "inactive")]


async def test_a_card_linked_or_enabled_again_is_opened_by_the_next_sweep(city: TagCity) -> None:
    await city.card("CARD", limit=0)
    assert (await city.tags.sync_changed_mappings()).activated == 1
    await city.switch_off("CARD")
    await city.tags.sync_changed_mappings()
    await city.switch_on("CARD")
    assert (await city.tags.sync_changed_mappings()).activated == 1
    assert await city.tap("CARD") == "Accepted"


async def test_a_sweep_with_nothing_changed_asks_steve_nothing(city: TagCity) -> None:
    await city.card("CARD")
    await city.tags.sync_changed_mappings()
    city.requests.log.clear()
    await city.execute("UPDATE tag_mappings SET display_name = 'Anna'")
    await city.tags.sync_changed_mappings()
    assert city.requests.log == []


async def test_a_change_is_not_lost_while_steve_is_away(city: TagCity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0.0)
    await city.card("CARD")
    await city.tags.sync_changed_mappings()
    await city.switch_off("CARD")
    city.steve.faults.replace([FaultRule(Fault.HTML_502)])
    with pytest.raises(SteveUnavailable):
        await city.tags.sync_changed_mappings()
    city.steve.faults.replace([FaultRule(Fault.RESET, method="PUT")])
    assert (await city.tags.sync_changed_mappings()).failed == 1
    city.steve.faults.replace([])
    assert (await city.tags.sync_changed_mappings()).deactivated == 1


async def test_a_change_made_while_the_sweep_is_at_work_stays_due(city: TagCity) -> None:
    """The card has been dealt with already and its customer's meta tag is being made."""
    user = await city.user("customer")
    await city.card("CARD")
    await city.execute("UPDATE tag_mappings SET user_id = :user", user=user)

    async def switched_off(method: str, path: str) -> None:
        if method == "POST":
            await city.switch_off("CARD")

    city.requests.before = switched_off
    await city.tags.sync_changed_mappings()
    assert city.limit("CARD") == -1
    await city.tags.sync_changed_mappings()
    assert city.limit("CARD") == 0


async def test_a_run_with_an_old_decision_never_reopens_a_card_that_was_lost_meanwhile(city: TagCity) -> None:
    """The run has decided to open; before its write arrives, the card is lost and blocked by a sweep."""
    await city.card("CARD", limit=0)
    city.requests.before = None

    async def lost(method: str, path: str) -> None:
        if method == "PUT":
            city.requests.before = None
            await city.switch_off("CARD", "reported_lost")
            await city.tags.sync_changed_mappings()

    city.requests.before = lost
    await city.tags.reconcile_tags()
    assert await city.tap("CARD") == "Blocked"


async def test_a_decision_that_no_longer_holds_when_its_turn_comes_is_not_carried_out(city: TagCity) -> None:
    await city.card("CARD1", limit=0)
    await city.card("CARD2", limit=0)

    async def lost(method: str, path: str) -> None:
        if method == "PUT":
            city.requests.before = None
            await city.switch_off("CARD2", "reported_lost")

    city.requests.before = lost
    outcome = await city.tags.reconcile_tags()
    assert (city.limit("CARD1"), city.limit("CARD2"), outcome.held) == (-1, 0, 1)
    assert city.requests.writes == 1


async def test_what_inherits_from_a_lost_card_is_refused_with_it_however_many_they_are(city: TagCity) -> None:
    await city.card("FOB")
    for number in range(12):
        city.steve.add_tag(f"CHILD{number}", max_active_transaction_count=-1, parent_id_tag="FOB")
    await city.tags.reconcile_tags()
    await city.switch_off("FOB")
    assert (await city.tags.sync_changed_mappings()).deactivated == 13
    assert city.limits("CHILD") == [0] * 12


async def test_a_person_may_switch_many_cards_off_at_once_but_a_mistake_may_not(city: TagCity) -> None:
    for number in range(10):
        await city.card(f"CARD{number}")
    await city.tags.sync_changed_mappings()
    await city.execute("UPDATE tag_mappings SET is_active = false, deactivation_reason = 'subscription_terminated'")
    assert (await city.tags.sync_changed_mappings()).warnings == ["tag_blocks_need_consent"]
    assert city.limits("CARD") == [-1] * 10
    await city.execute("UPDATE tag_mappings SET deactivation_reason = 'operator'")
    assert (await city.tags.sync_changed_mappings()).deactivated == 10


async def test_a_card_that_was_never_mirrored_is_blocked_all_the_same(city: TagCity) -> None:
    await city.card("CARD")
    await city.switch_off("CARD")
    assert (await city.tags.sync_tags(["card"])).deactivated == 1


async def test_a_mirror_that_is_behind_does_not_hide_an_open_card(city: TagCity) -> None:
    await city.card("FOB", limit=0)
    city.steve.add_tag("CHILD", max_active_transaction_count=0, parent_id_tag="FOB")
    await city.switch_off("FOB")
    await city.tags.reconcile_tags()
    city.steve.tag("CHILD").max_active_transaction_count = -1
    await city.tags.sync_tags(["FOB"])
    assert city.limit("CHILD") == 0


async def test_a_mapping_for_a_tag_that_steve_does_not_have_is_looked_at_once(city: TagCity) -> None:
    await city.map("NOWHERE")
    await city.tags.sync_changed_mappings()
    city.requests.log.clear()
    await city.tags.sync_changed_mappings()
    assert city.requests.log == []


STEPS = ("run", "sweep", "sync", "subscription_starts", "subscription_ends", "lago_read", "steve_edit", "steve_away")


async def _step(city: TagCity, step: str) -> None:
    match step:
        case "run":
            await city.tags.reconcile_tags()
        case "sweep":
            await city.tags.sync_changed_mappings()
        case "sync":
            await city.tags.sync_tags(["CARD", "PARENT"])
        case "subscription_starts":
            await city.subscribe("customer")
        case "subscription_ends":
            await city.subscribe("customer", status="terminated")
        case "lago_read":
            await city.lago_was_read(minutes_ago=-10)
        case "steve_edit":
            city.steve.tag("CARD").note = f"edited after {len(city.requests.log)} requests"
        case "steve_away":
            city.steve.faults.replace([FaultRule(Fault.RESET_AFTER, method="PUT", times=1)])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=8), reason=st.sampled_from(["reported_lost", "operator"]))
async def test_a_disabled_card_is_refused_after_any_sequence_of_syncs_until_it_is_enabled(
    city: TagCity, steps: list[str], reason: str
) -> None:
    await city.execute("DELETE FROM tag_mappings")
    await city.card("PARENT", limit=-1)
    await city.card("CARD", limit=-1, parent_id_tag="PARENT")
    await city.switch_off("CARD", reason)
    await city.tags.sync_changed_mappings()
    for step in steps:
        await _step(city, step)
        assert await city.tap("CARD") == "Blocked"

    city.steve.faults.replace([])
    await city.subscribe("customer")
    await city.switch_on("CARD")
    await city.tags.sync_changed_mappings()
    assert await city.tap("CARD") == "Accepted"


async def _told(city: TagCity) -> list[tuple[str, str, str]]:
    rows = await city.rows("SELECT payload FROM domain_events WHERE type = 'operator.notice' ORDER BY created_at, id")
    return [(row.payload["kind"], row.payload["sourceId"], row.payload["detail"]) for row in rows]


async def test_operators_hear_once_of_each_change_that_steve_has_not_taken(
    city: TagCity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0.0)
    card = await city.card("CARD")
    await city.tags.sync_changed_mappings()
    await city.switch_off("CARD")
    city.steve.faults.replace([FaultRule(Fault.RESET, method="PUT")])
    for _ in range(3):
        await city.tags.sync_changed_mappings()
    city.steve.faults.replace([FaultRule(Fault.HTML_502)])
    with pytest.raises(SteveUnavailable):
        await city.tags.sync_changed_mappings()
    told_once = await _told(city)
    await city.switch_on("CARD")
    with pytest.raises(SteveUnavailable):
        await city.tags.sync_changed_mappings()

    assert told_once == [("steve_sync_failed", str(card), "1")]
    assert await _told(city) == told_once * 2


async def test_operators_hear_of_a_change_that_steve_refuses_and_of_many_in_one_notice(city: TagCity) -> None:
    cards = [await city.card(f"CARD{n}") for n in range(2)]
    await city.tags.sync_changed_mappings()
    for n in range(2):
        await city.switch_off(f"CARD{n}")
    city.steve.faults.replace([FaultRule(Fault.ERROR_BEFORE, method="PUT", status=400)])
    await city.tags.sync_changed_mappings()

    assert await _told(city) == [("steve_sync_failed", str(cards[0]), "2")]


async def test_nobody_hears_of_changes_that_steve_takes(city: TagCity) -> None:
    await city.card("CARD")
    await city.tags.sync_changed_mappings()
    await city.switch_off("CARD")
    await city.tags.sync_changed_mappings()

    assert await _told(city) == []
