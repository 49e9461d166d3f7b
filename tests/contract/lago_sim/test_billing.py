"""Periods, invoices, grace and the quirks of the invoice endpoints (facts 11 and 18)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from polaris_sim.lago.periods import BillingTime, Interval, period_containing
from polaris_sim.lago.wire import iso, micros

if TYPE_CHECKING:
    from tests.contract.lago_sim.conftest import Lago


@pytest.mark.parametrize(
    ("interval", "billing_time", "start", "end"),
    [
        (Interval.WEEKLY, BillingTime.CALENDAR, "2026-08-16T22:00:00Z", "2026-08-23T22:00:00Z"),
        (Interval.WEEKLY, BillingTime.ANNIVERSARY, "2026-08-14T22:00:00Z", "2026-08-21T22:00:00Z"),
        (Interval.MONTHLY, BillingTime.CALENDAR, "2026-07-31T22:00:00Z", "2026-08-31T22:00:00Z"),
        (Interval.MONTHLY, BillingTime.ANNIVERSARY, "2026-07-30T22:00:00Z", "2026-08-30T22:00:00Z"),
        (Interval.QUARTERLY, BillingTime.CALENDAR, "2026-06-30T22:00:00Z", "2026-09-30T22:00:00Z"),
        (Interval.QUARTERLY, BillingTime.ANNIVERSARY, "2026-07-30T22:00:00Z", "2026-10-30T23:00:00Z"),
        (Interval.YEARLY, BillingTime.CALENDAR, "2025-12-31T23:00:00Z", "2026-12-31T23:00:00Z"),
        (Interval.YEARLY, BillingTime.ANNIVERSARY, "2026-01-30T23:00:00Z", "2027-01-30T23:00:00Z"),
    ],
)
def test_periods_begin_at_the_customers_midnight(
    interval: Interval, billing_time: BillingTime, start: str, end: str
) -> None:
    anchor = micros(datetime(2026, 1, 31, 15, tzinfo=UTC))  # a Saturday
    now = micros(datetime(2026, 8, 21, 10, tzinfo=UTC))

    period = period_containing(now, interval, billing_time, anchor, ZoneInfo("Europe/Berlin"))

    assert (iso(period.start), iso(period.end)) == (start, end)


def test_an_anniversary_on_the_31st_falls_on_the_last_day_of_short_months() -> None:
    anchor, now = micros(datetime(2026, 1, 31, tzinfo=UTC)), micros(datetime(2026, 2, 28, 12, tzinfo=UTC))

    period = period_containing(now, Interval.MONTHLY, BillingTime.ANNIVERSARY, anchor, ZoneInfo("UTC"))

    assert (iso(period.start), iso(period.end)) == ("2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z")


async def test_a_period_is_invoiced_ten_past_the_hour_after_it_ended(lago: Lago) -> None:
    await lago.send(lago.event("10"))
    lago.until("2026-09-01T00:09:59+00:00")
    assert await lago.invoices() == []

    lago.until("2026-09-01T00:10:00+00:00")
    [invoice] = await lago.invoices()

    assert (invoice["status"], invoice["total_amount_cents"], invoice["issuing_date"]) == (
        "finalized",
        400,
        "2026-09-01",
    )
    [fee] = invoice["fees"]
    assert (fee["units"], fee["events_count"], fee["amount_cents"]) == ("10.0", 1, 400)
    assert (fee["from_date"], fee["to_date"]) == ("2026-08-01T00:00:00Z", "2026-08-31T23:59:59Z")


async def test_the_period_ends_in_the_time_zone_of_the_customer(lago: Lago) -> None:
    await lago.api.post("/customers", json={"customer": {"external_id": "DRIVER-1", "timezone": "America/New_York"}})
    lago.subscribe("SUB-2", "standard")
    subscription = (await lago.api.get("/subscriptions/SUB-2")).json()["subscription"]

    assert subscription["current_billing_period_ending_at"] == "2026-09-01T03:59:59Z"


async def test_events_for_a_finalised_period_are_stored_and_never_billed(lago: Lago) -> None:
    await lago.send(lago.event("10"))
    lago.until("2026-09-05T00:00:00+00:00")
    await lago.invoices()

    late = await lago.send(lago.event("5", at="2026-08-31T12:00:00Z"))
    lago.until("2026-10-05T00:00:00+00:00")

    assert late.status_code == 200
    assert [invoice["total_amount_cents"] for invoice in await lago.invoices()] == [0, 400]


async def test_grace_needs_a_licence(lago: Lago) -> None:
    configuration = {"invoice_grace_period": 3}
    await lago.api.post(
        "/customers", json={"customer": {"external_id": "DRIVER-1", "billing_configuration": configuration}}
    )
    lago.until("2026-09-01T01:00:00+00:00")

    assert [invoice["status"] for invoice in await lago.invoices()] == ["finalized"]


async def test_within_grace_late_events_reach_the_invoice_when_it_is_finalised(premium: Lago) -> None:
    premium.until("2026-09-01T01:00:00+00:00")
    [draft] = await premium.invoices()
    await premium.send(premium.event("10", at="2026-08-31T12:00:00Z"))
    assert (draft["status"], draft["total_amount_cents"]) == ("draft", 0)
    assert (await premium.invoices())[0]["total_amount_cents"] == 0

    premium.until("2026-09-04T02:00:00+00:00")

    [invoice] = await premium.invoices()
    assert (invoice["status"], invoice["total_amount_cents"]) == ("finalized", 400)


async def test_refreshing_a_draft_replaces_its_fees(premium: Lago) -> None:
    await premium.send(premium.event("10"))
    premium.until("2026-09-01T01:00:00+00:00")
    [draft] = await premium.invoices()

    refreshed = (await premium.api.put(f"/invoices/{draft['lago_id']}/refresh")).json()["invoice"]

    assert refreshed["total_amount_cents"] == 400
    assert refreshed["fees"][0]["lago_id"] != draft["fees"][0]["lago_id"]


async def test_only_a_draft_can_be_finalised_and_only_a_finalised_invoice_voided(premium: Lago) -> None:
    premium.until("2026-09-01T01:00:00+00:00")
    [draft] = await premium.invoices()
    path = f"/invoices/{draft['lago_id']}"

    too_early = await premium.api.post(f"{path}/void")
    finalised = await premium.api.put(f"{path}/finalize")
    again = await premium.api.put(f"{path}/finalize")
    refreshed = await premium.api.put(f"{path}/refresh")
    voided = await premium.api.post(f"{path}/void")
    changed = await premium.api.put(path, json={"invoice": {"payment_status": "succeeded"}})

    assert (too_early.status_code, too_early.json()["code"]) == (405, "not_voidable")
    assert finalised.json()["invoice"]["status"] == refreshed.json()["invoice"]["status"] == "finalized"
    assert (again.status_code, again.json()["code"]) == (404, "invoice_not_found")
    assert voided.json()["invoice"]["status"] == "voided"
    assert (changed.status_code, changed.json()["code"]) == (405, "update_on_voided_invoice")


async def test_retrying_a_payment_answers_200_with_an_empty_body(lago: Lago) -> None:
    await lago.send(lago.event("10"))
    lago.until("2026-09-01T01:00:00+00:00")
    [invoice] = await lago.invoices()

    retried = await lago.api.post(f"/invoices/{invoice['lago_id']}/retry_payment")
    await lago.api.put(f"/invoices/{invoice['lago_id']}", json={"invoice": {"payment_status": "succeeded"}})
    paid = await lago.api.post(f"/invoices/{invoice['lago_id']}/retry_payment")

    assert (retried.status_code, retried.content) == (200, b"")
    assert (paid.status_code, paid.json()["code"]) == (405, "invalid_status")


async def test_the_first_download_is_empty_and_the_next_has_the_file(lago: Lago) -> None:
    lago.until("2026-09-01T01:00:00+00:00")
    [invoice] = await lago.invoices()

    first = await lago.api.post(f"/invoices/{invoice['lago_id']}/download")
    second = await lago.api.post(f"/invoices/{invoice['lago_id']}/download")

    assert (first.status_code, first.content) == (200, b"")
    assert second.json()["invoice"]["file_url"].endswith(".pdf")


async def test_invoices_are_filtered_and_a_subscription_filter_is_ignored(lago: Lago) -> None:
    await lago.send(lago.event("10"))
    lago.until("2026-10-02T00:00:00+00:00")

    assert len(await lago.invoices()) == 2
    assert len(await lago.invoices("external_subscription_id=none")) == 2
    assert len(await lago.invoices("payment_statuses[]=pending&statuses[]=finalized")) == 1
    assert len(await lago.invoices("issuing_date_from=2026-10-01")) == 1
    assert await lago.invoices("external_customer_id=none") == []
    assert (await lago.api.get("/invoices?statuses[]=bogus")).status_code == 422


async def test_invoice_lists_show_neither_fees_nor_subscriptions(lago: Lago) -> None:
    lago.until("2026-09-02T00:00:00+00:00")

    [listed] = (await lago.api.get("/invoices")).json()["invoices"]

    assert listed["customer"]["external_id"] == "DRIVER-1"
    assert not {"fees", "subscriptions"} & set(listed)


async def test_past_usage_and_fees_show_what_was_invoiced(lago: Lago) -> None:
    await lago.send(lago.event("10"))
    lago.until("2026-09-02T00:00:00+00:00")

    past = (await lago.api.get("/customers/DRIVER-1/past_usage?external_subscription_id=SUB-1")).json()
    fees = (await lago.api.get("/fees?external_subscription_id=SUB-1&billable_metric_code=ev_energy")).json()

    [period] = past["usage_periods"]
    assert (period["amount_cents"], period["charges_usage"][0]["units"]) == (400, "10.0")
    assert period["lago_invoice_id"] == fees["fees"][0]["lago_invoice_id"]
    assert fees["meta"]["total_count"] == 1


async def test_what_was_not_used_has_no_fee(lago: Lago) -> None:
    lago.until("2026-09-02T00:00:00+00:00")

    [invoice] = await lago.invoices()

    assert (invoice["fees"], invoice["payment_status"]) == ([], "succeeded")


async def test_a_plan_amount_is_charged_by_the_day(lago: Lago) -> None:
    lago.plan(code="flat", amount_cents=3100)
    lago.subscribe("SUB-2", "flat", subscription_at="2026-08-21T00:00:00Z")
    lago.until("2026-10-01T01:00:00+00:00")

    amounts = [
        invoice["total_amount_cents"]
        for invoice in await lago.invoices()
        if invoice["subscriptions"][0]["external_id"] == "SUB-2"
    ]

    assert amounts == [3100, 1100]


async def test_a_plan_paid_in_advance_is_invoiced_at_once_and_for_each_next_period(lago: Lago) -> None:
    lago.plan(code="flat", amount_cents=3000, pay_in_advance=True)
    lago.subscribe("SUB-2", "flat")
    assert [invoice["total_amount_cents"] for invoice in await lago.invoices()] == [3000]

    lago.until("2026-09-01T01:00:00+00:00")

    assert sorted(invoice["total_amount_cents"] for invoice in await lago.invoices()) == [0, 3000, 3000]


async def test_a_jump_over_several_periods_bills_each_of_them_once(lago: Lago) -> None:
    for month in ("08", "09", "10"):
        await lago.send(lago.event("1", at=f"2026-{month}-25T12:00:00Z"))
    lago.until("2026-11-01T01:00:00+00:00")

    invoices = await lago.invoices()

    assert [invoice["total_amount_cents"] for invoice in invoices] == [40, 40, 40]
    assert lago.simulator.units("SUB-1", "ev_energy") == Decimal(3)
