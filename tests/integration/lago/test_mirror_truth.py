"""What the mirror may conclude from Lago's lists, and how it asks for them."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import event
from tests.integration.lago.conftest import LAGO, NOON, ToldLago, Town

from billing_bridge.mirror.service import Mirror
from polaris_common.lago import LagoClient
from polaris_sim.lago import create_app
from polaris_sim.lago.models import SubscriptionStatus


@pytest.fixture
async def client(town: Town) -> AsyncIterator[LagoClient]:
    """Our client on the town's Lago."""
    built = LagoClient(LAGO, transport=httpx.ASGITransport(create_app(town.lago)))
    yield built
    await built.close()


def _customers(count: int, prefix: str = "c") -> list[dict[str, Any]]:
    return [{"lago_id": f"{prefix}-{n:04}", "external_id": f"{prefix}-{n:04}"} for n in range(count)]


def _subscriptions(count: int, prefix: str = "s") -> list[dict[str, Any]]:
    return [
        {
            "lago_id": f"{prefix}-{n:04}",
            "external_id": f"{prefix}-{n:04}",
            "external_customer_id": f"c-{n:04}",
            "plan_code": "standard",
            "status": "active",
            "started_at": "2026-01-01T00:00:00Z",
        }
        for n in range(count)
    ]


async def _gone(town: Town, table: str) -> int:
    row = await town.row(f"SELECT count(*) AS n FROM {table} WHERE deleted_at IS NOT NULL")  # noqa: S608
    return int(row.n)


@pytest.mark.parametrize("left", [[], _subscriptions(30, "other")], ids=["emptied", "another organisation"])
async def test_a_lago_that_suddenly_knows_nobody_of_ours_switches_no_card_off(
    town: Town, told: ToldLago, told_mirror: Mirror, left: list[dict[str, Any]]
) -> None:
    """A key of another organisation: each of our objects is a 404 in Lago's own words."""
    told.lists |= {"customers": _customers(300), "subscriptions": _subscriptions(300)}
    await told_mirror.refresh()
    cards = [await town.card(f"c-{n:04}", f"CARD{n}") for n in range(3)]
    read_at = (await town.row("SELECT last_success_at FROM component_health WHERE component = 'lago_mirror'"))[0]
    told.lists |= {"customers": _customers(len(left), "other"), "subscriptions": left}
    for _ in range(3):
        await told_mirror.refresh()

    assert (await _gone(town, "lago_subscriptions"), await _gone(town, "lago_customers")) == (0, 0)
    active = await town.rows("SELECT id FROM tag_mappings WHERE is_active ORDER BY id")
    assert [row.id for row in active] == cards
    assert await town.events("session.stop_wanted") == []
    assert await town.health("lago") == "list_not_believed"
    last = await town.row("SELECT last_success_at FROM component_health WHERE component = 'lago_mirror'")
    assert last.last_success_at == read_at


async def test_many_objects_that_are_really_gone_go_a_portion_at_a_time(
    town: Town, told: ToldLago, told_mirror: Mirror
) -> None:
    told.lists["customers"] = _customers(700)
    await told_mirror.refresh()
    told.lists["customers"] = _customers(700)[:400]
    gone = []
    for _ in range(3):
        await told_mirror.refresh()
        gone.append(await _gone(town, "lago_customers"))
    assert gone == [200, 300, 300]
    assert await town.health("lago") is None


async def test_more_pages_than_any_limit_are_read_to_the_end(town: Town, told: ToldLago, told_mirror: Mirror) -> None:
    told.lists["customers"] = _customers(10_100)
    await told_mirror.refresh()
    row = await town.row("SELECT count(*) AS n, count(deleted_at) AS gone FROM lago_customers")
    assert tuple(row) == (10_100, 0)
    told.asked.clear()
    await told_mirror.refresh()
    assert not [path for path in told.asked if path.startswith("customers/")]


async def test_more_objects_cost_no_more_statements(town: Town, told: ToldLago, told_mirror: Mirror) -> None:
    statements: list[str] = []
    event.listen(town.database.engine.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    costs = []
    for count in (5, 450):
        told.lists |= {"customers": _customers(count), "subscriptions": _subscriptions(count)}
        statements.clear()
        await told_mirror.refresh()
        costs.append(len(statements))
    assert (await town.row("SELECT count(*) AS n FROM lago_subscriptions")).n == 450
    assert costs[1] == costs[0]


async def test_a_filter_of_ours_is_one_that_lago_obeys(town: Town, client: LagoClient) -> None:
    """Lago ignores names that it does not know and shows everything."""
    for number in (1, 2):
        town.subscribe(town.customer(f"c-{number}"), f"s-{number}")
    town.lago.subscriptions.terminate(town.lago.organization.subscription("s-1", SubscriptionStatus.ACTIVE))
    town.subscribe("c-1", "s-1b")
    (final,) = town.lago.organization.invoices.values()

    async def shown(**filters: Any) -> int:
        return len([invoice async for invoice in client.invoices(**filters)])

    assert await shown() == 1
    assert (await shown(statuses=["finalized"]), await shown(statuses=["draft", "voided"])) == (1, 0)
    payment = str(final.payment_status)
    other = "failed" if payment != "failed" else "pending"
    assert (await shown(payment_statuses=[payment]), await shown(payment_statuses=[other])) == (1, 0)
    today = NOON.date()
    assert (await shown(issued_from=today), await shown(issued_from=today + timedelta(days=1))) == (1, 0)

    theirs = [each["external_id"] async for each in client.subscriptions(external_customer_id="c-1")]
    assert sorted(theirs) == ["s-1", "s-1b"]
    everybody = [each["external_id"] async for each in client.subscriptions()]
    assert sorted(everybody) == ["s-1", "s-1b", "s-2"]
    ended = await client.subscription("s-1", status="terminated")
    assert ended["status"] == "terminated"
