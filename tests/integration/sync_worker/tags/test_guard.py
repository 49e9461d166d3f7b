"""Many tags at once lose the right to charge only with an operator's word."""

from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError
from tests.support.tag_city import TagCity

from polaris_common.charging.tag_consents import ConsentAlreadyDecided, ConsentNotFound, decide
from polaris_common.steve import SteveClient, SteveTag
from sync_worker.tags.service import TagPolicy


async def _strangers(city: TagCity, count: int) -> None:
    for number in range(count):
        city.steve.add_tag(f"STRANGER{number}")


async def _say(city: TagCity, *, approved: bool) -> int:
    consent = await city.row("SELECT id FROM tag_block_consents WHERE decision IS NULL")
    async with city.database.unit_of_work() as uow:
        await decide(uow, consent.id, approved=approved, by=uuid4())
    return int(consent.id)


async def test_three_tags_may_always_be_blocked(city: TagCity) -> None:
    await city.card("CARD")
    await _strangers(city, 3)
    outcome = await city.tags.reconcile_tags()
    assert (outcome.deactivated, outcome.warnings) == (3, [])
    assert city.limits("STRANGER") == [0, 0, 0]


async def test_too_many_blocks_are_none_while_activations_still_happen(city: TagCity) -> None:
    await city.card("CARD", limit=0)
    await _strangers(city, 4)

    outcome = await city.tags.reconcile_tags()

    assert city.limits("STRANGER") == [1, 1, 1, 1]
    assert city.limit("CARD") == -1
    assert (outcome.activated, outcome.deactivated, outcome.held) == (1, 0, 4)
    assert outcome.warnings == ["tag_blocks_need_consent"]
    consent = await city.row("SELECT id_tags, decision FROM tag_block_consents")
    assert consent.id_tags == [f"STRANGER{number}" for number in range(4)]
    assert consent.decision is None


async def test_operators_hear_once_that_their_word_is_needed(city: TagCity) -> None:
    await city.card("CARD")
    await _strangers(city, 4)

    for _ in range(2):
        await city.tags.reconcile_tags()

    notice = await city.row("SELECT payload FROM domain_events WHERE type = 'operator.notice'")
    assert (notice.payload["kind"], notice.payload["detail"]) == ("tag_blocks_need_consent", "4")


async def test_a_tenth_of_many_tags_may_be_blocked_and_one_more_may_not(city: TagCity) -> None:
    for number in range(36):
        await city.card(f"CARD{number}")
    await _strangers(city, 4)
    assert (await city.tags.reconcile_tags()).deactivated == 4
    for number in range(4, 9):
        city.steve.add_tag(f"STRANGER{number}")
    assert (await city.tags.reconcile_tags()).held == 5


async def test_tags_that_are_blocked_already_do_not_count(city: TagCity) -> None:
    await city.card("CARD")
    for number in range(50):
        city.steve.add_tag(f"STRANGER{number}", max_active_transaction_count=0)
    await _strangers(city, 3)
    assert (await city.tags.reconcile_tags()).deactivated == 3


async def test_after_consent_exactly_the_tags_the_operator_saw_are_blocked(city: TagCity) -> None:
    await city.card("CARD")
    await _strangers(city, 5)
    await city.tags.reconcile_tags()
    await _say(city, approved=True)
    await city.map("STRANGER0")
    city.steve.add_tag("LATECOMER")

    outcome = await city.tags.reconcile_tags()

    assert city.limits("STRANGER") == [-1, 0, 0, 0, 0]
    assert city.limit("LATECOMER") == 1
    assert (outcome.deactivated, outcome.updated, outcome.held) == (4, 1, 1)
    assert (await city.row("SELECT applied_at FROM tag_block_consents")).applied_at is not None


async def test_a_consent_is_used_once(city: TagCity) -> None:
    await city.card("CARD")
    await _strangers(city, 5)
    await city.tags.reconcile_tags()
    await _say(city, approved=True)
    await city.tags.reconcile_tags()
    await _strangers(city, 5)
    assert city.limits("STRANGER") == [1] * 5
    assert (await city.tags.reconcile_tags()).held == 5
    assert len(await city.rows("SELECT * FROM tag_block_consents")) == 2


async def test_the_same_question_is_asked_once_and_another_one_takes_its_place(city: TagCity) -> None:
    await city.card("CARD")
    await _strangers(city, 4)
    for _ in range(3):
        await city.tags.reconcile_tags()
    (first,) = await city.rows("SELECT id FROM tag_block_consents")
    await _strangers(city, 5)
    await city.tags.reconcile_tags()
    with pytest.raises(ConsentAlreadyDecided):
        async with city.database.unit_of_work() as uow:
            await decide(uow, first.id, approved=True, by=None)
    open_ones = await city.rows("SELECT id_tags FROM tag_block_consents WHERE decision IS NULL")
    assert [len(consent.id_tags) for consent in open_ones] == [5]


async def test_a_refusal_is_kept_and_not_asked_again(city: TagCity) -> None:
    await city.card("CARD")
    await _strangers(city, 5)
    await city.tags.reconcile_tags()
    await _say(city, approved=False)
    outcome = await city.tags.reconcile_tags()
    assert (outcome.held, outcome.warnings) == (5, ["tag_blocks_refused"])
    for number in range(3):
        await city.map(f"STRANGER{number}")
    await city.tags.reconcile_tags()
    assert city.limits("STRANGER") == [-1, -1, -1, 1, 1]
    assert await city.rows("SELECT * FROM tag_block_consents WHERE decision IS NULL") == []


async def test_a_question_that_has_settled_itself_is_withdrawn(city: TagCity) -> None:
    await city.card("CARD")
    await _strangers(city, 4)
    await city.tags.reconcile_tags()
    for number in range(4):
        await city.map(f"STRANGER{number}")
    await city.tags.reconcile_tags()
    assert (await city.row("SELECT decision FROM tag_block_consents")).decision == "superseded"


async def test_deciding_twice_alike_is_one_decision_and_an_unknown_request_is_not_found(city: TagCity) -> None:
    await city.card("CARD")
    await _strangers(city, 4)
    await city.tags.reconcile_tags()
    consent = await _say(city, approved=True)
    async with city.database.unit_of_work() as uow:
        assert (await decide(uow, consent, approved=True, by=None)).decided_by is not None
    with pytest.raises(ConsentAlreadyDecided):
        async with city.database.unit_of_work() as uow:
            await decide(uow, consent, approved=False, by=None)
    with pytest.raises(ConsentNotFound):
        async with city.database.unit_of_work() as uow:
            await decide(uow, consent + 1, approved=True, by=None)


@pytest.mark.parametrize("strangers", [1, 3, 20])
async def test_an_empty_mapping_table_blocks_nothing(city: TagCity, strangers: int) -> None:
    await _strangers(city, strangers)
    outcome = await city.tags.reconcile_tags()
    assert city.limits("STRANGER") == [1] * strangers
    assert outcome.warnings == ["no_tag_mappings"]
    assert await city.rows("SELECT * FROM tag_block_consents") == []


async def test_a_mapping_table_that_lost_half_its_rows_blocks_nothing(city: TagCity) -> None:
    for number in range(20):
        await city.card(f"CARD{number}")
    await city.tags.reconcile_tags()
    await city.execute("DELETE FROM tag_mappings WHERE id % 2 = 0")
    assert (await city.tags.reconcile_tags()).held == 10
    assert city.limits("CARD") == [-1] * 20


async def test_a_database_error_blocks_nothing(city: TagCity) -> None:
    await city.card("CARD")
    await _strangers(city, 2)
    await city.tags.reconcile_tags()
    city.steve.add_tag("STRANGER0")
    await city.execute("ALTER TABLE lago_subscriptions RENAME TO away")
    with pytest.raises(DBAPIError):
        await city.tags.reconcile_tags()
    assert city.limits("STRANGER") == [1, 0]
    assert city.limit("CARD") == -1


@pytest.fixture
def shorten(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[SteveTag], bool]], None]:
    """SteVe's list of tags shows only some of them."""

    def install(shows: Callable[[SteveTag], bool]) -> None:
        whole: Callable[[SteveClient], Awaitable[list[SteveTag]]] = SteveClient.tags

        async def part(client: SteveClient) -> list[SteveTag]:
            return [tag for tag in await whole(client) if shows(tag)]

        monkeypatch.setattr(SteveClient, "tags", part)

    return install


async def test_a_list_without_tags_that_steve_still_has_blocks_nothing_and_forgets_nothing(
    city: TagCity, shorten: Callable[[Callable[[SteveTag], bool]], None]
) -> None:
    await city.card("CARD")
    await city.card("FOB")
    city.steve.add_tag("CHILD", max_active_transaction_count=-1, parent_id_tag="FOB")
    await city.tags.reconcile_tags()
    city.steve.add_tag("STRANGER")
    shorten(lambda tag: tag.id_tag != "FOB")

    outcome = await city.tags.reconcile_tags()

    assert (city.limit("CHILD"), city.limit("STRANGER")) == (-1, 1)
    assert outcome.warnings == ["tag_list_incomplete"]
    assert (await city.row("SELECT count(deleted_at) AS gone FROM ocpp_tags")).gone == 0


async def test_a_first_list_that_lacks_a_parent_does_not_block_its_children(
    city: TagCity, shorten: Callable[[Callable[[SteveTag], bool]], None]
) -> None:
    await city.card("CARD")
    city.steve.add_tag("PARENT")
    city.steve.add_tag("CHILD", max_active_transaction_count=-1, parent_id_tag="PARENT")
    shorten(lambda tag: tag.id_tag != "PARENT")
    await city.tags.reconcile_tags()
    assert city.limit("CHILD") == -1


async def test_tags_that_an_operator_deleted_in_steve_are_marked_deleted(city: TagCity) -> None:
    await city.card("CARD")
    for number in range(60):
        city.steve.add_tag(f"OLD{number}", max_active_transaction_count=0)
    await city.tags.reconcile_tags()
    for number in range(60):
        city.steve.delete_tag(f"OLD{number}")
    assert (await city.tags.reconcile_tags()).warnings == []
    assert (await city.row("SELECT count(deleted_at) AS gone FROM ocpp_tags")).gone == 60


async def test_the_ratio_is_the_operators_choice(city: TagCity) -> None:
    await city.card("CARD")
    await _strangers(city, 9)
    city.with_policy(TagPolicy(max_block_ratio=0.9))
    assert (await city.tags.reconcile_tags()).deactivated == 9
