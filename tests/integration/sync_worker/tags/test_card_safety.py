"""Cards, meta tags and device tags keep their kind, their family and their limit."""

import pytest
from sqlalchemy.exc import IntegrityError
from tests.support.tag_city import TagCity

from polaris_common.charging.mappings import TagMappingRepository
from polaris_common.models import TagType

DEVICE_TAG = "APP-23456789-00FF00"


async def _owner(city: TagCity, id_tag: str) -> int | None:
    """The mapping that answers for a tag."""
    async with city.database.unit_of_work() as uow:
        owner = (await TagMappingRepository(uow).owners([id_tag]))[id_tag.lower()]
    return None if owner is None else owner.id


async def test_every_kind_of_tag_that_we_make_can_be_stored_and_none_is_needed(city: TagCity) -> None:
    for kind in TagType:
        await city.map(f"TAG-{kind}", tag_type=kind)
    await city.execute("INSERT INTO tag_mappings (id_tag) VALUES ('PLAIN')")
    kinds = {row.tag_type for row in await city.rows("SELECT tag_type FROM tag_mappings")}
    assert kinds == {kind.value for kind in TagType}


async def test_a_device_tag_hangs_below_the_customers_present_meta_tag(city: TagCity) -> None:
    user = await city.user("customer")
    await city.subscribe("customer")
    city.steve.add_tag("OCPP-customer", max_active_transaction_count=1)
    city.steve.add_tag(DEVICE_TAG, max_active_transaction_count=1)
    await city.map(DEVICE_TAG, "customer", tag_type="app", user_id=user)
    await city.tags.sync_changed_mappings()
    assert city.steve.tag(DEVICE_TAG).parent_id_tag == await city.meta_tag_name(user)
    assert await city.tap(DEVICE_TAG) == "Accepted"


@pytest.mark.parametrize("limit", [-1, 1, 5])
async def test_any_limit_but_zero_is_an_open_tag_and_is_not_switched_off(city: TagCity, limit: int) -> None:
    user = await city.user("customer")
    await city.subscribe("customer")
    name = await city.meta_tag_name(user)
    city.steve.add_tag(name, max_active_transaction_count=limit)
    await city.card("CARD", limit=limit)
    for _ in range(2):
        await city.tags.ensure_meta_tag(user)
        await city.tags.reconcile_tags()
    active = await city.rows("SELECT is_active FROM tag_mappings")
    assert [row.is_active for row in active] == [True, True]
    assert (await city.tap("CARD"), await city.tap(name)) == ("Accepted", "Accepted")
    assert "deactivated" not in [change for tag in ("CARD", name) for change, _ in await city.changes(tag)]


async def test_a_meta_tag_that_is_linked_by_hand_as_a_card_stays_nobodys_child(city: TagCity) -> None:
    user = await city.user("customer")
    await city.subscribe("customer")
    name = await city.meta_tag_name(user)
    city.steve.add_tag(name, max_active_transaction_count=1)
    await city.map(name.lower(), "customer", user_id=user)
    await city.tags.sync_changed_mappings()
    await city.tags.reconcile_tags()
    await city.tags.ensure_meta_tag(user)
    assert city.steve.tag(name).parent_id_tag is None
    mapping = await city.row("SELECT tag_type FROM tag_mappings")
    assert (mapping.tag_type, city.limit(name)) == ("meta", 1)


async def test_a_tag_that_moves_to_another_family_belongs_to_its_new_parent_and_no_copy_stays_behind(
    city: TagCity,
) -> None:
    old, new = await city.card("OLD", "customer-1"), await city.card("NEW", "customer-2")
    city.steve.add_tag("CHILD", max_active_transaction_count=-1, parent_id_tag="OLD")
    city.steve.add_tag("GRANDCHILD", max_active_transaction_count=-1, parent_id_tag="CHILD")
    await city.tags.reconcile_tags()
    assert (await _owner(city, "CHILD"), await _owner(city, "grandchild")) == (old, old)

    city.steve.add_tag("CHILD", max_active_transaction_count=-1, parent_id_tag="NEW")
    await city.switch_off("OLD")
    await city.tags.reconcile_tags()
    assert (await _owner(city, "CHILD"), await _owner(city, "grandchild")) == (new, new)
    assert (city.limit("OLD"), city.limit("CHILD"), city.limit("GRANDCHILD")) == (0, -1, -1)
    assert (await city.row("SELECT count(*) AS n FROM tag_mappings")).n == 2


async def test_names_notes_and_an_absent_lago_are_no_reason_to_write_a_tag(city: TagCity) -> None:
    for number in range(5):
        await city.card(f"CARD{number}", f"customer-{number}", note=f"Card {number}")
    await city.execute(
        "INSERT INTO lago_customers (lago_id, external_id, name, timezone, payload)"
        " SELECT 'l' || n, 'customer-' || n, 'Before', 'UTC', '{}' FROM generate_series(0, 4) n"
    )
    await city.lago_was_read()
    await city.tags.reconcile_tags()
    city.requests.log.clear()

    await city.execute("UPDATE lago_customers SET name = 'Afterwards'")
    await city.execute("UPDATE tag_mappings SET display_name = 'Blue card'")
    await city.tags.sync_changed_mappings()
    await city.tags.reconcile_tags()
    city.steve.add_tag("CARD0", max_active_transaction_count=-1, note="An operator's remark")
    await city.tags.reconcile_tags()
    await city.execute("UPDATE component_health SET status = 'degraded', last_success_at = now() - interval '3 days'")
    await city.tags.reconcile_tags()

    assert city.requests.writes == 0
    assert city.steve.tag("CARD0").note == "An operator's remark"
    changed = await city.rows("SELECT id_tag, reason FROM tag_change_log")
    assert [tuple(row) for row in changed] == [("CARD0", "seen_in_steve")]


async def test_one_name_in_two_spellings_is_one_tag_and_found_by_an_index(city: TagCity) -> None:
    mapping = await city.card("Card-A1")
    await city.tags.reconcile_tags()
    for spelling in ("card-a1", "CARD-A1", "Card-A1"):
        assert await _owner(city, spelling) == mapping
        with pytest.raises(IntegrityError):
            await city.map(spelling)
    async with city.database.unit_of_work() as uow:
        connection = await uow.session.connection()
        await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        for table, condition in (("tag_mappings", "true"), ("ocpp_tags", "deleted_at IS NULL")):
            query = f"EXPLAIN SELECT 1 FROM {table} WHERE lower(id_tag) IN ('card-a1', 'b') AND {condition}"  # noqa: S608
            plan = "\n".join(row[0] for row in await connection.exec_driver_sql(query))
            assert f"{table}_id_tag_lower_key" in plan
