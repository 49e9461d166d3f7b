"""A driver's phone has a tag of its own in SteVe, below the driver's meta tag."""

import pytest
from tests.support.tag_city import TagCity

from polaris_common.domain.meta_tag import device_id_tag
from polaris_common.steve import SteveUnavailable
from polaris_sim.faults import Fault, FaultRule

PHONE = "APP-23456789-00FF00"


async def _phone(city: TagCity, *, subscribed: bool = True, id_tag: str = PHONE) -> str:
    """Somebody signs in on a phone, as the gateway notes it; the name of their meta tag."""
    user = await city.user("customer")
    if subscribed:
        await city.subscribe("customer")
    await city.map(id_tag, user_id=user, tag_type="app", display_name="Phone")
    return await city.meta_tag_name(user)


async def test_a_phone_that_signs_in_has_a_tag_that_charges_within_one_sweep(city: TagCity) -> None:
    meta = await _phone(city)

    await city.tags.sync_changed_mappings()

    tag = city.steve.tag(PHONE)
    assert (tag.parent_id_tag, tag.max_active_transaction_count) == (meta, -1)
    assert await city.tap(PHONE) == "Accepted"
    mapping = await city.row("SELECT ocpp_tag_pk FROM tag_mappings WHERE tag_type = 'app'")
    assert mapping.ocpp_tag_pk == tag.ocpp_tag_pk
    assert await city.changes(PHONE) == [("created", "app_tag")]


async def test_a_second_sweep_does_nothing(city: TagCity) -> None:
    await _phone(city)
    await city.tags.sync_changed_mappings()
    await city.tags.sync_changed_mappings()
    writes = city.requests.writes

    await city.tags.sync_changed_mappings()
    await city.tags.reconcile_tags()

    assert city.requests.writes == writes


async def test_a_phone_that_is_signed_out_charges_no_more(city: TagCity) -> None:
    await _phone(city)
    await city.tags.sync_changed_mappings()
    await city.switch_off(PHONE)

    await city.tags.sync_changed_mappings()

    assert (city.limit(PHONE), await city.tap(PHONE) == "Accepted") == (0, False)
    assert "DELETE" not in city.requests.log


async def test_a_phone_that_was_signed_out_before_its_tag_was_made_gets_none(city: TagCity) -> None:
    await _phone(city)
    await city.switch_off(PHONE)

    await city.tags.sync_changed_mappings()
    await city.tags.reconcile_tags()

    assert PHONE not in {tag.id_tag for tag in city.steve.state.tags()}


async def test_a_phone_that_is_signed_out_while_its_tag_is_made_is_blocked_by_the_next_sweep(city: TagCity) -> None:
    meta = await _phone(city)
    city.steve.add_tag(meta, max_active_transaction_count=1)

    async def sign_out(method: str, path: str) -> None:
        if method == "POST":
            await city.switch_off(PHONE)

    city.requests.before = sign_out
    await city.tags.sync_changed_mappings()
    opened = city.limit(PHONE)

    await city.tags.sync_changed_mappings()

    assert (opened, city.limit(PHONE)) == (-1, 0)


async def test_while_nobody_knows_who_pays_the_tag_charges_nothing_and_opens_later(city: TagCity) -> None:
    await _phone(city, subscribed=False)
    await city.tags.sync_changed_mappings()
    before = city.limit(PHONE)
    await city.subscribe("customer")

    await city.tags.reconcile_tags()

    assert (before, city.limit(PHONE)) == (0, -1)


async def test_a_steve_that_is_away_costs_time_and_no_tag(city: TagCity) -> None:
    await _phone(city)
    city.steve.faults.replace([FaultRule(Fault.RESET, method="POST")])
    with pytest.raises(SteveUnavailable):
        await city.tags.sync_changed_mappings()
    city.steve.faults.replace([])

    await city.tags.sync_changed_mappings()

    assert city.limit(PHONE) == -1


async def test_an_answer_that_was_lost_makes_one_tag(city: TagCity) -> None:
    meta = await _phone(city)
    city.steve.faults.replace([FaultRule(Fault.RESET_AFTER, method="POST", times=2)])

    await city.tags.sync_changed_mappings()

    assert sorted(tag.id_tag for tag in city.steve.state.tags()) == sorted([meta, PHONE])


async def test_a_run_makes_the_tags_that_are_missing(city: TagCity) -> None:
    await _phone(city)
    await city.execute("UPDATE tag_mappings SET synced_revision = revision")

    await city.tags.reconcile_tags()

    assert city.limit(PHONE) == -1


async def test_a_phone_s_name_fits_into_an_id_token(city: TagCity) -> None:
    user = await city.user("customer")
    row = await city.row("SELECT public_id FROM users WHERE id = :id", id=user)

    assert len(device_id_tag(row.public_id, user)) <= 20
