"""The mirror shows what Lago says: all of it, tolerantly, and never an older state over a newer one."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.integration.lago.conftest import LAGO, METRIC, NOON, ToldLago, Town

from billing_bridge.mirror.entities import CUSTOMER, SUBSCRIPTION, Entity
from billing_bridge.mirror.repository import MirrorRepository
from billing_bridge.mirror.service import Mirror
from polaris_common.lago import LagoClient
from polaris_sim.faults import Fault, FaultRule

EARLY, LATE = NOON, NOON + timedelta(minutes=1)


def subscription(lago_id: str, **fields: Any) -> dict[str, Any]:
    """A subscription as Lago shows it."""
    return {
        "lago_id": lago_id,
        "external_id": f"sub-{lago_id}",
        "external_customer_id": "c-1",
        "plan_code": "standard",
        "status": "active",
        "created_at": "2026-01-01T00:00:00Z",
        "started_at": "2026-01-01T00:00:00Z",
        **fields,
    }


async def mirrored(town: Town, columns: str = "*") -> Sequence[Any]:
    """The subscriptions in the mirror."""
    return await town.rows(f"SELECT {columns} FROM lago_subscriptions ORDER BY lago_id")  # noqa: S608


async def write(town: Town, entity: Entity, raw: dict[str, Any], *, read_at: datetime) -> int:
    """Mirror one object that was read at some time."""
    async with town.database.unit_of_work() as uow:
        return len(await MirrorRepository(uow).upsert(entity, [entity.row(raw)], read_at=read_at))


async def test_everything_that_billing_needs_is_there_after_one_refresh(town: Town) -> None:
    town.customer(name="c-1", email="ada@example.com", timezone="Europe/Berlin", currency="EUR")
    town.subscribe("c-1", "s-1")
    await town.mirror.refresh()
    customer = await town.row("SELECT * FROM lago_customers")
    assert (customer.external_id, customer.email, customer.timezone) == ("c-1", "ada@example.com", "Europe/Berlin")
    found = (await mirrored(town))[0]
    assert (found.external_id, found.external_customer_id, found.status) == ("s-1", "c-1", "active")
    assert (found.period_started_at, found.period_ending_at) == (
        datetime(2026, 2, 28, 23, tzinfo=UTC),
        datetime(2026, 3, 31, 21, 59, 59, tzinfo=UTC),
    )
    plans = await town.rows("SELECT code, amount_cents, metric_codes FROM lago_plans ORDER BY code")
    assert [tuple(row) for row in plans] == [("dear", 5_000, [METRIC]), ("standard", 1_000, [METRIC])]
    metric = await town.row("SELECT code, aggregation_type, field_name, recurring FROM lago_billable_metrics")
    assert tuple(metric) == (METRIC, "sum_agg", "value", False)
    assert (await town.health("lago"), await town.health("lago_mirror")) == (None, None)


async def test_an_unchanged_lago_changes_nothing(town: Town) -> None:
    town.subscribe(town.customer(), "s-1")
    await town.mirror.refresh()
    query = "SELECT xmin::text FROM lago_subscriptions UNION ALL SELECT xmin::text FROM lago_plans"
    before = await town.rows(query)
    await town.mirror.refresh()
    assert await town.rows(query) == before


async def test_ended_and_waiting_subscriptions_are_mirrored_too(town: Town) -> None:
    town.customer()
    town.subscribe("c-1", "s-ended")
    town.terminate("s-ended")
    town.lago.subscriptions.create(
        {
            "external_customer_id": "c-1",
            "external_id": "s-later",
            "plan_code": "standard",
            "subscription_at": "2027-01-01T00:00:00Z",
        }
    )
    await town.mirror.refresh()
    rows = await town.rows("SELECT external_id, status FROM lago_subscriptions ORDER BY external_id")
    assert [tuple(row) for row in rows] == [("s-ended", "terminated"), ("s-later", "pending")]


async def test_an_upgrade_keeps_its_name_under_a_new_lago_id(town: Town) -> None:
    town.subscribe(town.customer(), "s-1")
    await town.mirror.refresh()
    town.subscribe("c-1", "s-1", plan="dear")
    await town.mirror.refresh()
    rows = await town.rows("SELECT external_id, plan_code, status FROM lago_subscriptions ORDER BY status")
    assert [tuple(row) for row in rows] == [("s-1", "dear", "active"), ("s-1", "standard", "terminated")]


@pytest.mark.parametrize(
    "odd",
    [
        {"external_id": "no lago id"},
        {"lago_id": None, "external_id": "x"},
        {"lago_id": "x"},
        {"lago_id": "x", "external_id": {"odd": 1}},
        None,
        "text",
        [],
    ],
)
async def test_one_object_that_cannot_be_read_costs_only_itself(
    town: Town, told: ToldLago, told_mirror: Mirror, odd: Any
) -> None:
    told.lists["subscriptions"] = [subscription("a"), odd, subscription("b")]
    await told_mirror.refresh()
    assert [row.lago_id for row in await mirrored(town)] == ["a", "b"]
    assert await town.health("lago_mirror") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "hibernating", "brand_new": {"nested": [1, 2.5, None]}},
        {"status": None, "plan_code": None},
        {"started_at": "yesterday", "ending_at": 7, "terminated_at": "9999-12-31T23:59:59-14:00"},
        {"name": "a\x00b\ud800", "note": "x" * 100_000, "amount": 10**40},
    ],
)
async def test_unknown_values_nulls_and_odd_texts_are_mirrored_as_well_as_can_be(
    town: Town, told: ToldLago, told_mirror: Mirror, fields: dict[str, Any]
) -> None:
    told.lists["subscriptions"] = [subscription("a", **fields), subscription("b")]
    await told_mirror.refresh()
    assert [row.lago_id for row in await mirrored(town)] == ["a", "b"]


async def test_an_object_that_two_pages_show_is_mirrored_once(town: Town, told: ToldLago, told_mirror: Mirror) -> None:
    told.lists["subscriptions"] = [subscription("a"), *(subscription(f"n{n}") for n in range(100)), subscription("a")]
    await told_mirror.refresh()
    assert len(await mirrored(town)) == 101


async def test_a_thousand_objects_are_all_read(town: Town, told: ToldLago, told_mirror: Mirror) -> None:
    told.lists["subscriptions"] = [subscription(f"n{n:04}") for n in range(1_200)]
    await told_mirror.refresh()
    assert len(await mirrored(town, "lago_id")) == 1_200


async def test_a_server_that_caps_its_pages_does_not_cut_the_list_short(town: Town) -> None:
    def capped(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params["page"])
        items = [{"lago_id": f"{page}-{n}", "external_id": f"c-{page}-{n}"} for n in range(2)] if page <= 3 else []
        return httpx.Response(200, json={"customers": items, "meta": {"next_page": page + 1 if page < 3 else None}})

    client = LagoClient(LAGO, transport=httpx.MockTransport(capped))
    assert len([customer async for customer in client.customers()]) == 6
    await client.close()


async def test_a_page_without_its_list_is_no_empty_list(town: Town, told: ToldLago, told_mirror: Mirror) -> None:
    told.lists["subscriptions"] = [subscription("a")]
    await told_mirror.refresh()
    told.objects["subscriptions"] = {}  # an answer of another shape
    await told_mirror.refresh()
    assert [row.deleted_at for row in await mirrored(town)] == [None]
    assert await town.health("lago") == "unreachable"


async def test_an_older_state_never_replaces_a_newer_one(town: Town) -> None:
    new = {"lago_id": "a", "external_id": "c", "name": "New", "updated_at": LATE.isoformat()}
    old = {**new, "name": "Old", "updated_at": EARLY.isoformat()}
    await write(town, CUSTOMER, new, read_at=EARLY)
    assert await write(town, CUSTOMER, old, read_at=LATE) == 0
    assert (await town.row("SELECT name FROM lago_customers")).name == "New"


async def test_a_newer_state_counts_even_if_its_list_was_begun_earlier(town: Town) -> None:
    old = {"lago_id": "a", "external_id": "c", "name": "Old", "updated_at": EARLY.isoformat()}
    await write(town, CUSTOMER, old, read_at=LATE)
    new = {**old, "name": "New", "updated_at": LATE.isoformat()}
    assert await write(town, CUSTOMER, new, read_at=EARLY) == 1


async def test_where_lago_tells_no_time_the_later_reading_counts(town: Town) -> None:
    first, second = subscription("a", name="first"), subscription("a", name="second")
    await write(town, SUBSCRIPTION, second, read_at=LATE)
    assert await write(town, SUBSCRIPTION, first, read_at=EARLY) == 0
    assert await write(town, SUBSCRIPTION, first, read_at=LATE + timedelta(seconds=1)) == 1


async def test_a_status_never_goes_back_because_a_long_list_was_begun_before(town: Town) -> None:
    ended = subscription("a", status="terminated", terminated_at="2026-02-01T00:00:00Z")
    await write(town, SUBSCRIPTION, ended, read_at=EARLY)
    assert await write(town, SUBSCRIPTION, subscription("a"), read_at=LATE) == 0
    assert [row.status for row in await mirrored(town)] == ["terminated"]


async def test_what_a_list_does_not_show_stays_unless_lago_confirms_that_it_is_gone(
    town: Town, told: ToldLago, told_mirror: Mirror
) -> None:
    told.lists["customers"] = [{"lago_id": "a", "external_id": "c-a"}, {"lago_id": "b", "external_id": "c-b"}]
    await told_mirror.refresh()
    told.lists["customers"] = []
    told.objects["customers/c-a"] = {"lago_id": "a", "external_id": "c-a", "name": "Still here"}
    await told_mirror.refresh()
    rows = await town.rows("SELECT lago_id, name, deleted_at IS NOT NULL AS gone FROM lago_customers ORDER BY lago_id")
    assert [tuple(row) for row in rows] == [("a", "Still here", False), ("b", None, True)]


async def test_what_comes_back_is_no_longer_deleted(town: Town, told: ToldLago, told_mirror: Mirror) -> None:
    shown = [{"lago_id": "a", "external_id": "c-a"}]
    for customers in (shown, [], shown):
        told.lists["customers"] = customers
        await told_mirror.refresh()
    assert (await town.row("SELECT deleted_at FROM lago_customers")).deleted_at is None


async def test_another_object_under_the_same_name_means_that_the_old_one_is_gone(
    town: Town, told: ToldLago, told_mirror: Mirror
) -> None:
    told.lists["customers"] = [{"lago_id": "a", "external_id": "c"}]
    await told_mirror.refresh()
    told.lists["customers"] = [{"lago_id": "b", "external_id": "c"}]
    told.objects["customers/c"] = {"lago_id": "b", "external_id": "c"}
    await told_mirror.refresh()
    rows = await town.rows("SELECT lago_id, deleted_at IS NOT NULL AS gone FROM lago_customers ORDER BY lago_id")
    assert [tuple(row) for row in rows] == [("a", True), ("b", False)]


async def test_a_subscription_is_gone_only_if_lago_knows_it_in_no_status(
    town: Town, told: ToldLago, told_mirror: Mirror
) -> None:
    told.lists["subscriptions"] = [subscription("a"), subscription("b")]
    await told_mirror.refresh()
    told.lists["subscriptions"] = []
    told.objects["subscriptions/sub-a"] = subscription("a", status="terminated", terminated_at="2026-02-01T00:00:00Z")
    await told_mirror.refresh()
    assert [(row.status, row.deleted_at is None) for row in await mirrored(town)] == [
        ("terminated", True),
        ("active", False),
    ]


@pytest.mark.parametrize("status", [401, 403, 404, 500, 502])
async def test_an_answer_that_is_not_lagos_404_deletes_nothing(
    town: Town, told: ToldLago, told_mirror: Mirror, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0)
    told.lists["customers"] = [{"lago_id": "a", "external_id": "c-a"}]
    await told_mirror.refresh()
    told.lists["customers"], told.refused = [], {"customers/c-a": status}
    await told_mirror.refresh()
    assert (await town.row("SELECT deleted_at FROM lago_customers")).deleted_at is None


@pytest.mark.parametrize("fault", [Fault.ERROR_BEFORE, Fault.HTML_502, Fault.RESET, Fault.TRUNCATED])
async def test_a_lago_that_fails_in_the_middle_of_a_list_deletes_nothing(
    town: Town, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0)
    for number in range(120):
        town.subscribe(town.customer(f"c-{number}"), f"s-{number}")
    await town.mirror.refresh()
    town.lago.config.faults.replace([FaultRule(fault, path="/subscriptions")])
    await town.mirror.refresh()
    assert await town.health("lago") == "unreachable"
    assert (await town.row("SELECT count(*) AS n FROM lago_subscriptions WHERE deleted_at IS NULL")).n == 120


async def test_a_key_that_may_not_read_one_thing_still_reads_the_others(
    town: Town, told: ToldLago, told_mirror: Mirror
) -> None:
    told.lists["subscriptions"], told.refused = [subscription("a")], {"/customers?": 403}
    await told_mirror.refresh()
    assert [row.lago_id for row in await mirrored(town)] == ["a"]
    assert (await town.health("lago"), await town.health("lago_mirror")) == ("credentials_refused", None)


async def test_a_mirror_that_was_never_complete_says_so(town: Town) -> None:
    town.lago.config.api_key = "rotated"
    await town.mirror.refresh()
    assert await town.health("lago") == "credentials_refused"
    assert await town.rows("SELECT 1 FROM component_health WHERE component = 'lago_mirror'") == []
