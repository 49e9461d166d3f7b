"""One meta tag per customer, the parent of the customer's cards."""

from datetime import timedelta

import pytest
from tests.support.tag_city import TagCity

from polaris_common.steve import SteveUnavailable
from polaris_sim.faults import Fault, FaultRule


async def test_a_customer_gets_one_meta_tag_that_fits_into_an_id_token(city: TagCity) -> None:
    user = await city.user("customer")
    await city.subscribe("customer")
    meta = await city.tags.ensure_meta_tag(user)
    again = await city.tags.ensure_meta_tag(user)

    assert meta is not None
    assert again is not None
    assert (meta.created, again.created) == (True, False)
    assert (len(meta.tag.id_tag), city.limit(meta.tag.id_tag)) == (13, 1)
    mapping = await city.row("SELECT * FROM tag_mappings")
    assert (mapping.tag_type, mapping.user_id, mapping.lago_customer_external_id, mapping.ocpp_tag_pk) == (
        "meta",
        user,
        "customer",
        meta.tag.ocpp_tag_pk,
    )
    assert await city.changes(meta.tag.id_tag) == [("created", "meta_tag")]


async def test_a_new_meta_tag_lets_nobody_charge_while_the_subscription_is_unknown(city: TagCity) -> None:
    user = await city.user("customer")
    meta = await city.tags.ensure_meta_tag(user)
    assert meta is not None
    assert city.limit(meta.tag.id_tag) == 0
    await city.subscribe("customer")
    await city.tags.reconcile_tags()
    assert city.limit(meta.tag.id_tag) == 1


async def test_a_lago_without_answer_neither_blocks_the_meta_tag_nor_switches_its_mapping_off(city: TagCity) -> None:
    """The predecessor took an error for "no subscription"."""
    user = await city.user("customer")
    await city.subscribe("customer")
    meta = await city.tags.ensure_meta_tag(user)
    assert meta is not None
    await city.execute("DELETE FROM lago_subscriptions")
    await city.tags.ensure_meta_tag(user)
    await city.tags.reconcile_tags()
    assert city.limit(meta.tag.id_tag) == 1
    assert (await city.row("SELECT is_active FROM tag_mappings")).is_active


async def test_it_becomes_the_parent_of_cards_that_have_none_and_of_no_others(city: TagCity) -> None:
    city.steve.add_tag("FLEET", max_active_transaction_count=0)
    await city.card("ALONE", note="keep me")
    await city.card("IN-FLEET", parent_id_tag="FLEET")
    await city.card("FOREIGN", "somebody-else")
    await city.card("OFF")
    await city.switch_off("OFF")
    await city.tags.reconcile_tags()

    user = await city.user("customer")
    meta = await city.tags.ensure_meta_tag(user)

    assert meta is not None
    assert meta.adopted == ("ALONE",)
    parents = {tag.id_tag: tag.parent_id_tag for tag in city.steve.state.tags()}
    assert parents == {
        "FLEET": None,
        "ALONE": meta.tag.id_tag,
        "IN-FLEET": "FLEET",
        "FOREIGN": None,
        "OFF": None,
        meta.tag.id_tag: None,
    }
    assert (city.limit("ALONE"), city.steve.tag("ALONE").note) == (-1, "keep me")


async def test_a_meta_tag_is_never_its_own_parent_and_never_closes_a_circle(city: TagCity) -> None:
    user = await city.user("customer")
    await city.card("CARD")
    name = await city.meta_tag_name(user)
    city.steve.add_tag(name.lower(), parent_id_tag="CARD")
    await city.tags.reconcile_tags()
    await city.tags.ensure_meta_tag(user)
    assert city.steve.tag(name).parent_id_tag == "CARD"
    assert city.steve.tag("CARD").parent_id_tag is None


async def test_an_old_parent_is_never_deleted(city: TagCity) -> None:
    user = await city.user("customer")
    city.steve.add_tag("OCPP-customer", max_active_transaction_count=1)
    await city.card("CARD", parent_id_tag="OCPP-customer")
    await city.tags.reconcile_tags()
    await city.tags.ensure_meta_tag(user)
    assert city.steve.tag("CARD").parent_id_tag == "OCPP-customer"
    assert "DELETE" not in city.requests.log


async def test_a_legacy_meta_tag_follows_the_same_policy(city: TagCity) -> None:
    await city.card("OCPP-customer")
    await city.execute("UPDATE tag_mappings SET tag_type = 'meta'")
    await city.tags.reconcile_tags()
    assert city.limit("OCPP-customer") == 1


async def test_a_device_tag_is_a_card_and_not_a_meta_tag(city: TagCity) -> None:
    await city.card("APP-23456789-00FF00")
    await city.execute("UPDATE tag_mappings SET tag_type = 'app'")
    for _ in range(2):
        await city.tags.reconcile_tags()
        assert city.limit("APP-23456789-00FF00") == -1


async def test_a_meta_tag_that_is_in_steve_already_is_taken_over(city: TagCity) -> None:
    user = await city.user("customer")
    await city.subscribe("customer")
    name = await city.meta_tag_name(user)
    city.steve.add_tag(name, max_active_transaction_count=-1, note="made by the predecessor")
    meta = await city.tags.ensure_meta_tag(user)
    await city.tags.sync_changed_mappings()
    assert meta is not None
    assert not meta.created
    assert (city.limit(name), city.steve.tag(name).note) == (1, "made by the predecessor")


async def test_a_meta_tag_that_a_person_switched_off_stays_off(city: TagCity) -> None:
    user = await city.user("customer")
    await city.subscribe("customer")
    meta = await city.tags.ensure_meta_tag(user)
    assert meta is not None
    await city.switch_off(meta.tag.id_tag)
    await city.tags.ensure_meta_tag(user)
    await city.tags.reconcile_tags()
    assert city.limit(meta.tag.id_tag) == 0
    assert not (await city.row("SELECT is_active FROM tag_mappings")).is_active


async def test_a_run_makes_the_meta_tags_that_are_missing(city: TagCity) -> None:
    users = [await city.user(f"customer{number}") for number in range(3)]
    operator = await city.user("nobody")
    await city.execute("UPDATE users SET role = 'admin' WHERE id = :id", id=operator)
    await city.tags.reconcile_tags()
    names = sorted([await city.meta_tag_name(user) for user in users])
    assert sorted(tag.id_tag for tag in city.steve.state.tags()) == names


async def test_a_newly_linked_card_gets_the_meta_tag_as_its_parent(city: TagCity) -> None:
    user = await city.user("customer")
    await city.card("CARD")
    await city.execute("UPDATE tag_mappings SET user_id = :user", user=user)
    await city.tags.sync_changed_mappings()
    assert city.steve.tag("CARD").parent_id_tag == await city.meta_tag_name(user)


async def test_a_failure_in_the_middle_leaves_no_tag_without_an_owner(city: TagCity) -> None:
    user = await city.user("customer")
    city.steve.faults.replace([FaultRule(Fault.RESET, method="POST")])
    with pytest.raises(SteveUnavailable):
        await city.tags.ensure_meta_tag(user)
    city.steve.faults.replace([])
    await city.tags.reconcile_tags()
    name = await city.meta_tag_name(user)
    assert city.steve.tag(name).id_tag == name
    assert (await city.row("SELECT count(*) AS n FROM tag_mappings")).n == 1


async def test_an_expired_card_is_not_adopted(city: TagCity) -> None:
    expiry = city.clock.now() + timedelta(hours=1)
    await city.card("CARD", expiry_date=expiry)
    await city.tags.reconcile_tags()
    city.clock.advance(7_200)
    user = await city.user("customer")
    meta = await city.tags.ensure_meta_tag(user)
    assert meta is not None
    assert (meta.adopted, city.steve.tag("CARD").expiry_date) == ((), expiry)


async def test_somebody_who_is_no_customer_has_no_meta_tag(city: TagCity) -> None:
    user = await city.user("customer")
    await city.execute("UPDATE users SET lago_customer_external_id = NULL")
    assert await city.tags.ensure_meta_tag(user) is None
    assert city.requests.log == []
