"""A deliberate move to another, smaller Lago organisation: seen first, accepted as seen, and only that."""

from typing import Any

import httpx
import pytest
from tests.integration.lago.conftest import LAGO, ToldLago, Town
from tests.support.command import polaris
from tests.support.worker_processes import served

from billing_bridge.mirror.service import Mirror
from polaris_common.books.lago_move import Organisation, OtherOrganisation, accept_move, move_to, read_organisation
from polaris_common.lago import LagoClient
from polaris_sim.lago import create_app


def _customers(count: int, name: str = "c") -> list[dict[str, Any]]:
    return [{"lago_id": f"customer-{name}-{n:04}", "external_id": f"{name}-{n:04}"} for n in range(count)]


async def _seen(told: ToldLago) -> Organisation:
    client = LagoClient(LAGO, transport=httpx.MockTransport(told.answer))
    try:
        return await read_organisation(client)
    finally:
        await client.close()


async def _accept(town: Town, organisation: Organisation) -> None:
    async with town.database.unit_of_work() as uow:
        await accept_move(uow, organisation, organisation.code, reason="we moved", actor="test")


async def _left(town: Town) -> list[str]:
    query = "SELECT external_id FROM lago_customers WHERE deleted_at IS NULL ORDER BY 1"
    return [row.external_id for row in await town.rows(query)]


@pytest.fixture
async def moved(town: Town, told: ToldLago, told_mirror: Mirror) -> ToldLago:
    """A Lago that showed thirty customers, and now three others."""
    told.lists["customers"] = _customers(30)
    await told_mirror.refresh()
    told.lists["customers"] = _customers(3, "new")
    await told_mirror.refresh()
    return told


async def test_once_a_person_has_accepted_the_other_organisation_the_mirror_follows_it_and_is_well(
    town: Town, moved: ToldLago, told_mirror: Mirror
) -> None:
    assert (len(await _left(town)), await town.health("lago")) == (33, "list_not_believed")

    await _accept(town, await _seen(moved))
    await told_mirror.refresh()

    assert (await _left(town), await town.health("lago")) == (["new-0000", "new-0001", "new-0002"], None)


async def test_an_accepted_organisation_loses_nothing_that_lago_still_has_by_id(
    town: Town, moved: ToldLago, told_mirror: Mirror
) -> None:
    kept = _customers(1)[0]
    moved.objects[f"customers/{kept['external_id']}"] = kept
    await _accept(town, await _seen(moved))

    await told_mirror.refresh()

    assert kept["external_id"] in await _left(town)


async def test_accepting_one_organisation_accepts_no_third(town: Town, moved: ToldLago, told_mirror: Mirror) -> None:
    await _accept(town, await _seen(moved))
    moved.lists["customers"] = _customers(5, "stranger")
    await told_mirror.refresh()

    assert len([name for name in await _left(town) if name.startswith("c-")]) == 30
    assert await town.health("lago") == "list_not_believed"


async def test_an_acceptance_ends_after_a_day(town: Town, moved: ToldLago, told_mirror: Mirror) -> None:
    await _accept(town, await _seen(moved))
    await town.execute("UPDATE operator_actions SET acted_at = now() - interval '25 hours'")
    await told_mirror.refresh()

    assert await town.health("lago") == "list_not_believed"


async def test_a_code_stands_for_what_was_seen_and_nothing_else(town: Town, moved: ToldLago) -> None:
    code = (await _seen(moved)).code
    moved.lists["customers"] = _customers(2, "new")
    now = await _seen(moved)
    async with town.database.unit_of_work() as uow:
        with pytest.raises(OtherOrganisation):
            await accept_move(uow, now, code, reason="we moved", actor="test")

    assert await town.rows("SELECT id FROM operator_actions") == []


async def test_what_a_move_would_mean_names_the_cards_that_nobody_would_pay_for(town: Town) -> None:
    for number in (1, 2):
        town.subscribe(town.customer(f"c-{number}"), f"s-{number}")
        await town.card(f"c-{number}", f"CARD{number}")
    await town.mirror.refresh()
    nobody = Organisation({"customer": [], "subscription": [], "plan": [], "billable_metric": []}, ["c-2"], ["s-2"])

    async with town.database.unit_of_work() as uow:
        move = await move_to(uow, nobody)

    assert (move.unpaid_cards, move.leaving["subscription"], move.unsent) == (1, 2, 0)


async def test_the_command_shows_first_and_accepts_with_the_code_and_a_reason(town: Town, database_url: str) -> None:
    town.subscribe(town.customer("c-1"), "s-1")
    async with served(create_app(town.lago)) as lago_url:
        where = {"database_url": database_url, "lago_url": lago_url}
        shown = await polaris("billing", "accept-lago", **where)
        code = shown.out.split("--code ")[1].split()[0]
        without_reason = await polaris("billing", "accept-lago", "--code", code, **where)
        wrong = await polaris("billing", "accept-lago", "--code", "0000000000", "--reason", "moved", **where)
        assert await town.rows("SELECT id FROM operator_actions") == []
        accepted = await polaris("billing", "accept-lago", "--code", code, "--reason", "moved", **where)

    assert "subscriptions              1 shown        0 of ours would go" in shown.out
    assert [shown.status, without_reason.status, wrong.status, accepted.status] == [0, 2, 3, 0]
    action = await town.row("SELECT action, subject, actor, reason FROM operator_actions")
    assert (action.action, action.reason) == ("lago.accept_organisation", "moved")
    assert action.actor.startswith("cli:")
