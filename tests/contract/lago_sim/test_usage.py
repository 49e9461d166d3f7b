"""From events to units and money (facts 8, 9, 12, 13 and the charge models)."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.contract.lago_sim.conftest import Lago

PEAK = {"values": {"tariff_window": ["peak"]}, "properties": {"amount": "0.60"}, "invoice_display_name": "Peak"}
PEAK_DC = {"values": {"tariff_window": ["peak"], "power_class": ["dc"]}, "properties": {"amount": "0.90"}}
TIERS = [
    {"from_value": 0, "to_value": 10, "per_unit_amount": "1", "flat_amount": "2"},
    {"from_value": 11, "to_value": None, "per_unit_amount": "0.5", "flat_amount": "0"},
]


def energy(model: str = "standard", properties: dict[str, object] | None = None, **fields: object) -> dict[str, object]:
    """A charge on the energy metric."""
    chosen = {"amount": "0.40"} if properties is None else properties
    return {"billable_metric_code": "ev_energy", "charge_model": model, "properties": chosen, **fields}


async def test_units_and_events_add_up_exactly(either: Lago) -> None:
    await either.send(*[either.event("0.1") for _ in range(3)], either.event("-0.05"), either.event("12345678.901"))

    usage = await either.usage()

    assert (usage["units"], usage["events_count"]) == ("12345679.151", 5)
    assert usage["amount_cents"] == 493827166


@pytest.mark.parametrize("value", ["1e-7", ".5", "1.", "+1", " 1", "1,5", "NaN", "", True, None])
async def test_a_value_that_is_not_plain_decimal_is_ignored(either: Lago, value: object) -> None:
    await either.send(either.event(value), either.event("2"))

    assert await either.units() == 2
    assert (await either.usage())["events_count"] == 1


async def test_a_json_number_counts_like_its_text(either: Lago) -> None:
    await either.send(either.event(Decimal("1.5")), either.event(2))

    assert await either.units() == Decimal("3.5")


async def test_clickhouse_loses_large_json_numbers_to_exponents(clickhouse: Lago) -> None:
    await clickhouse.send(clickhouse.event(1000000), clickhouse.event("1000000"), clickhouse.event(999999))

    assert await clickhouse.units() == 1999999


async def test_events_outside_the_life_or_the_period_do_not_count(either: Lago) -> None:
    either.subscribe("SUB-2", "standard", subscription_at="2026-08-10T00:00:00Z")
    for at in ("2026-07-31T23:59:59Z", "2026-08-09T23:59:59Z", "2026-08-10T00:00:00Z", "2026-09-01T00:00:00Z"):
        await either.send(either.event(at=at, external_subscription_id="SUB-2"))

    assert (await either.usage("SUB-2"))["events_count"] == 1


async def test_an_event_before_its_subscription_exists_counts_once_it_does(lago: Lago) -> None:
    await lago.send(lago.event("7", external_subscription_id="SUB-2"))

    lago.subscribe("SUB-2", "standard")

    assert (await lago.usage("SUB-2"))["units"] == "7.0"


@pytest.mark.parametrize(
    ("aggregation", "values", "units"),
    [
        ("sum_agg", ["1", "5", "2"], "8.0"),
        ("max_agg", ["1", "5", "2"], "5.0"),
        ("latest_agg", ["1", "5", "2"], "2.0"),
        ("count_agg", ["1", "x", "2"], "3.0"),
        ("unique_count_agg", ["a", "b", "a"], "2.0"),
    ],
)
async def test_every_aggregation(either: Lago, aggregation: str, values: list[str], units: str) -> None:
    metric = {"name": "M", "code": "m", "aggregation_type": aggregation, "field_name": "v"}
    either.simulator.seed({"billable_metrics": [metric]})
    either.plan(energy(billable_metric_code="m"), code="other")
    either.subscribe("SUB-2", "other")
    for minute, value in enumerate(values):
        event = either.event(at=f"2026-08-20T09:{minute:02d}:00Z", code="m", properties={"v": value})
        await either.send({**event, "external_subscription_id": "SUB-2"})

    assert (await either.usage("SUB-2"))["units"] == units


async def test_a_removed_value_is_no_longer_counted_as_unique(lago: Lago) -> None:
    lago.simulator.seed(
        {"billable_metrics": [{"name": "M", "code": "m", "aggregation_type": "unique_count_agg", "field_name": "v"}]}
    )
    lago.plan(energy(billable_metric_code="m"), code="other")
    lago.subscribe("SUB-2", "other")
    for minute, operation in enumerate(("add", "remove")):
        properties = {"v": "a", "operation_type": operation}
        event = lago.event(at=f"2026-08-20T09:{minute:02d}:00Z", code="m", properties=properties)
        await lago.send({**event, "external_subscription_id": "SUB-2"})

    assert (await lago.usage("SUB-2"))["units"] == "0.0"


async def test_the_most_specific_filter_prices_an_event_and_the_rest_goes_to_the_default(either: Lago) -> None:
    either.plan(energy(filters=[PEAK, PEAK_DC]), code="tou")
    either.subscribe("SUB-2", "tou")
    for window, power in (("peak", "dc"), ("peak", "ac"), ("offpeak", "dc"), ("midnight", "ac")):
        properties = {"tariff_window": window, "power_class": power}
        await either.send(either.event("10", external_subscription_id="SUB-2", properties=properties))

    usage = await either.usage("SUB-2")

    assert [(one["values"], one["units"], one["amount_cents"]) for one in usage["filters"]] == [
        ({}, "20.0", 800),
        (PEAK["values"], "10.0", 600),
        (PEAK_DC["values"], "10.0", 900),
    ]
    assert usage["amount_cents"] == 2300


async def test_the_wildcard_matches_declared_values_only(lago: Lago) -> None:
    wildcard = {"values": {"tariff_window": ["__ALL_FILTER_VALUES__"]}, "properties": {"amount": "1"}}
    lago.plan(energy(filters=[wildcard]), code="tou")
    lago.subscribe("SUB-2", "tou")
    for window in ("peak", "midnight"):
        await lago.send(lago.event(external_subscription_id="SUB-2", properties={"tariff_window": window}))

    assert [one["units"] for one in (await lago.usage("SUB-2"))["filters"]] == ["1.0", "1.0"]


async def test_groups_are_priced_and_rounded_one_by_one(lago: Lago) -> None:
    lago.plan(energy(properties={"amount": "0.005", "pricing_group_keys": ["session_id"]}), code="by-session")
    lago.subscribe("SUB-2", "by-session")
    for session in ("a", "b", "b"):
        await lago.send(lago.event("1", external_subscription_id="SUB-2", properties={"session_id": session}))

    usage = await lago.usage("SUB-2")

    groups = [(one["grouped_by"], one["units"], one["amount_cents"]) for one in usage["grouped_usage"]]
    assert groups == [({"session_id": "a"}, "1.0", 1), ({"session_id": "b"}, "2.0", 1)]
    assert usage["amount_cents"] == 2


async def test_a_negative_bucket_is_clamped_to_zero_on_its_own(lago: Lago) -> None:
    lago.plan(energy(filters=[PEAK]), code="tou")
    lago.subscribe("SUB-2", "tou")
    await lago.send(lago.event("-5", external_subscription_id="SUB-2", properties={"tariff_window": "peak"}))
    await lago.send(lago.event("3", external_subscription_id="SUB-2"))

    assert [one["units"] for one in (await lago.usage("SUB-2"))["filters"]] == ["3.0", "0.0"]


@pytest.mark.parametrize(("kwh", "cents"), [("0.0124", 0), ("0.0125", 1), ("0.0374", 1), ("0.0375", 2)])
async def test_half_a_cent_is_rounded_up(lago: Lago, kwh: str, cents: int) -> None:
    await lago.send(lago.event(kwh))

    assert (await lago.usage())["amount_cents"] == cents


@pytest.mark.parametrize(
    ("model", "properties", "kwh", "cents"),
    [
        ("standard", {"amount": "0.40"}, "15", 600),
        ("graduated", {"graduated_ranges": TIERS}, "10", 1200),
        ("graduated", {"graduated_ranges": TIERS}, "15", 1450),
        ("volume", {"volume_ranges": TIERS}, "10", 1200),
        ("volume", {"volume_ranges": TIERS}, "15", 750),
        ("package", {"amount": "5", "package_size": 10, "free_units": 3}, "13", 500),
        ("package", {"amount": "5", "package_size": 10, "free_units": 3}, "13.001", 1000),
        ("percentage", {"rate": "2.5", "fixed_amount": "0.30"}, "100", 280),
    ],
)
async def test_every_charge_model(lago: Lago, model: str, properties: dict[str, object], kwh: str, cents: int) -> None:
    lago.plan(energy(model, properties), code="other")
    lago.subscribe("SUB-2", "other")
    await lago.send(lago.event(kwh, external_subscription_id="SUB-2"))

    assert (await lago.usage("SUB-2"))["amount_cents"] == cents


async def test_a_dynamic_charge_sums_the_amounts_sent_but_only_if_there_are_units(lago: Lago) -> None:
    lago.plan(energy("dynamic", {}), code="other")
    lago.subscribe("SUB-2", "other")
    await lago.send(lago.event("0", external_subscription_id="SUB-2", precise_total_amount_cents="120.4"))
    assert (await lago.usage("SUB-2"))["amount_cents"] == 0

    await lago.send(lago.event("1", external_subscription_id="SUB-2", precise_total_amount_cents="30.1"))

    assert (await lago.usage("SUB-2"))["amount_cents"] == 151


async def test_usage_of_a_stranger_or_without_active_subscription_is_refused(lago: Lago) -> None:
    await lago.api.post("/customers", json={"customer": {"external_id": "DRIVER-2"}})
    paths = ("DRIVER-9/current_usage?external_subscription_id=SUB-1", "DRIVER-1/current_usage")
    stranger, unnamed = [await lago.api.get(f"/customers/{path}") for path in paths]
    foreign = await lago.api.get("/customers/DRIVER-2/current_usage?external_subscription_id=SUB-1")
    await lago.api.delete("/subscriptions/SUB-1")
    ended = await lago.api.get("/customers/DRIVER-1/current_usage?external_subscription_id=SUB-1")

    assert (stranger.status_code, stranger.json()["code"]) == (404, "customer_not_found")
    for refused in (unnamed, foreign, ended):
        assert (refused.status_code, refused.json()["code"]) == (405, "no_active_subscription")


async def test_a_stale_cache_keeps_answering_the_old_usage(lago: Lago) -> None:
    await lago.control.put("/config", json={"staleCache": True})
    assert await lago.units() == 0
    await lago.send(lago.event("5"))
    assert await lago.units() == 0

    await lago.control.put("/config", json={"staleCache": False})

    assert await lago.units() == 5


async def test_the_totals_are_what_would_be_billed_over_all_periods(either: Lago) -> None:
    either.subscribe("SUB-2", "standard", subscription_at="2026-01-01T00:00:00Z")
    for at in ("2025-12-31T00:00:00Z", "2026-02-01T00:00:00Z", "2026-08-20T00:00:00Z"):
        await either.send(either.event("0.105", at=at, external_subscription_id="SUB-2"))

    totals = (await either.control.get("/totals")).json()

    assert totals["units"]["SUB-2"]["ev_energy"] == {"units": "0.21", "eventsCount": 2}
    assert (totals["events"], totals["ignored"], totals["duplicateTransactionIds"]) == (3, 1, 0)
