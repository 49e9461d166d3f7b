"""Life of customers and subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.contract.lago_sim.conftest import Lago

CHARGE: dict[str, object] = {
    "billable_metric_code": "ev_energy",
    "charge_model": "standard",
    "properties": {"amount": "0.40"},
}


async def create(lago: Lago, **fields: object) -> Any:
    """``POST /subscriptions`` for SUB-1 of DRIVER-1."""
    body = {"external_customer_id": "DRIVER-1", "external_id": "SUB-1", "plan_code": "standard", **fields}
    return await lago.api.post("/subscriptions", json={"subscription": body})


async def test_the_same_subscription_again_changes_nothing(lago: Lago) -> None:
    existing = (await lago.api.get("/subscriptions/SUB-1")).json()["subscription"]

    again = (await create(lago)).json()["subscription"]

    assert again["lago_id"] == existing["lago_id"]


async def test_an_unknown_customer_is_created_bare(lago: Lago) -> None:
    response = await create(lago, external_customer_id="TYPO", external_id="SUB-9")

    assert response.status_code == 200
    customer = (await lago.api.get("/customers/TYPO")).json()["customer"]
    assert (customer["name"], customer["currency"]) == (None, "EUR")


async def test_a_foreign_external_id_an_unknown_plan_and_missing_fields_are_refused(lago: Lago) -> None:
    foreign = await create(lago, external_customer_id="DRIVER-2")
    unknown = await create(lago, plan_code="none")
    missing = await create(lago, external_id=None)

    assert (foreign.status_code, foreign.json()["error_details"]) == (422, {"external_id": ["value_already_exist"]})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "plan_not_found")
    assert missing.json()["error_details"] == {"external_id": ["value_is_mandatory"]}


async def test_plan_overrides_need_a_licence(lago: Lago, premium: Lago) -> None:
    refused = await create(lago, plan_overrides={"amount_cents": 5})

    assert (refused.status_code, refused.json()["code"]) == (403, "feature_unavailable")
    assert (await create(premium, plan_overrides={"amount_cents": 5})).status_code == 200


@pytest.mark.parametrize("ending_at", ["2026-08-20T00:00:00Z", "soon"])
async def test_the_end_must_be_in_the_future(lago: Lago, ending_at: str) -> None:
    response = await create(lago, external_id="SUB-9", ending_at=ending_at)

    assert (response.status_code, response.json()["error_details"]) == (422, {"ending_at": ["invalid_date"]})


async def test_a_dearer_plan_takes_over_at_once_and_the_old_one_is_invoiced(lago: Lago) -> None:
    lago.plan(CHARGE, code="premium", amount_cents=1000)
    await lago.send(lago.event("10"))

    upgraded = (await create(lago, plan_code="premium")).json()["subscription"]
    await lago.send(lago.event("1", at="2026-08-21T10:00:00Z"))

    assert (upgraded["plan_code"], upgraded["previous_plan_code"], upgraded["status"]) == (
        "premium",
        "standard",
        "active",
    )
    [invoice] = await lago.invoices()
    assert invoice["billing_periods"][0]["invoicing_reason"] == "subscription_terminating"
    assert invoice["total_amount_cents"] == 400
    assert await lago.units() == 1
    assert (await lago.control.get("/totals")).json()["units"]["SUB-1"]["ev_energy"]["units"] == "11"


async def test_a_cheaper_plan_waits_for_the_end_of_the_period(lago: Lago) -> None:
    lago.plan(CHARGE, code="premium", amount_cents=1000)
    lago.subscribe("SUB-2", "premium")

    current = (await create(lago, external_id="SUB-2")).json()["subscription"]
    pending = (await lago.api.get("/subscriptions/SUB-2?status=pending")).json()["subscription"]
    lago.until("2026-09-01T00:10:00+00:00")
    after = (await lago.api.get("/subscriptions/SUB-2")).json()["subscription"]

    assert (current["plan_code"], current["next_plan_code"]) == ("premium", "standard")
    assert current["downgrade_plan_date"] == "2026-09-01"
    assert after["lago_id"] == pending["lago_id"]
    assert (after["plan_code"], after["started_at"]) == ("standard", "2026-09-01T00:00:00.000Z")


async def test_a_future_start_is_pending_until_the_next_five_minutes(lago: Lago) -> None:
    await create(lago, external_id="SUB-9", subscription_at="2026-08-21T12:01:00Z")
    assert (await lago.api.get("/subscriptions/SUB-9")).status_code == 404
    assert (await lago.api.get("/subscriptions/SUB-9?status=pending")).status_code == 200

    lago.until("2026-08-21T12:04:59+00:00")
    assert (await lago.api.get("/subscriptions/SUB-9")).status_code == 404
    lago.until("2026-08-21T12:05:00+00:00")

    started = (await lago.api.get("/subscriptions/SUB-9")).json()["subscription"]
    assert started["started_at"] == "2026-08-21T12:01:00.000Z"


async def test_a_past_start_bills_no_elapsed_periods(lago: Lago) -> None:
    await create(lago, external_id="SUB-9", subscription_at="2026-01-01T00:00:00Z")

    assert await lago.invoices() == []


async def test_termination_invoices_at_once_and_ignores_what_comes_later(lago: Lago) -> None:
    await lago.send(lago.event("10"))

    terminated = (await lago.api.delete("/subscriptions/SUB-1")).json()["subscription"]
    late = await lago.send(lago.event("5", at="2026-08-21T09:30:00Z"), lago.event("5", at="2026-08-21T11:00:00Z"))
    lago.until("2026-09-02T00:00:00+00:00")

    assert (terminated["status"], late.status_code) == ("terminated", 200)
    assert [invoice["total_amount_cents"] for invoice in await lago.invoices()] == [400]


async def test_an_event_at_the_very_instant_of_termination_still_counts(lago: Lago) -> None:
    await lago.send(lago.event("10", at="2026-08-21T10:00:00Z"))

    await lago.api.delete("/subscriptions/SUB-1")

    assert [invoice["total_amount_cents"] for invoice in await lago.invoices()] == [400]
    assert (await lago.control.get("/totals")).json()["ignored"] == 0


async def test_termination_can_skip_the_invoice_and_pending_ones_are_canceled(lago: Lago) -> None:
    await create(lago, external_id="SUB-9", subscription_at="2026-09-21T12:01:00Z")

    await lago.api.delete("/subscriptions/SUB-1?on_termination_invoice=skip")
    canceled = (await lago.api.delete("/subscriptions/SUB-9?status=pending")).json()["subscription"]

    assert await lago.invoices() == []
    assert canceled["status"] == "canceled"


async def test_a_scheduled_end_terminates(lago: Lago) -> None:
    await lago.api.put("/subscriptions/SUB-1", json={"subscription": {"ending_at": "2026-08-25T00:00:00Z"}})
    lago.until("2026-08-25T00:00:01+00:00")

    ended = (await lago.api.get("/subscriptions/SUB-1?status=terminated")).json()["subscription"]

    assert ended["terminated_at"] == "2026-08-25T00:00:00Z"


async def test_lists_show_active_subscriptions_unless_asked(lago: Lago) -> None:
    lago.subscribe("SUB-2", "standard")
    await lago.api.delete("/subscriptions/SUB-2")

    async def ids(query: str) -> list[str]:
        found = (await lago.api.get(f"/subscriptions?{query}")).json()["subscriptions"]
        return [one["external_id"] for one in found]

    assert await ids("") == ["SUB-1"]
    assert await ids("status[]=terminated&status[]=active") == ["SUB-1", "SUB-2"]
    assert await ids("external_customer_id=none") == []
    assert (await lago.api.get("/subscriptions?status[]=bogus")).status_code == 422


async def test_a_customer_is_changed_only_in_the_fields_given(lago: Lago) -> None:
    first = {"external_id": "A/B", "name": "Ada", "email": "ada@example.com"}
    created = (await lago.api.post("/customers", json={"customer": first})).json()["customer"]

    changed = await lago.api.post("/customers", json={"customer": {"external_id": "A/B", "name": "Ada L"}})

    customer = (await lago.api.get("/customers/A%2FB")).json()["customer"]
    assert changed.json()["customer"] == customer
    assert (customer["lago_id"], customer["name"], customer["email"]) == (created["lago_id"], "Ada L", first["email"])


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"external_id": None}, {"external_id": ["value_is_mandatory"]}),
        ({"timezone": "Mars/Olympus"}, {"timezone": ["value_is_invalid"]}),
        ({"currency": "USD"}, {"currency": ["currencies_does_not_match"]}),
        ({"metadata": [{"key": str(n), "value": "x"} for n in range(6)]}, {"metadata": ["invalid_count"]}),
    ],
)
async def test_a_customer_that_cannot_be_is_refused(
    lago: Lago, fields: dict[str, object], details: dict[str, object]
) -> None:
    response = await lago.api.post("/customers", json={"customer": {"external_id": "DRIVER-1", **fields}})

    assert (response.status_code, response.json()["error_details"]) == (422, details)


async def test_deleting_a_customer_ends_the_subscriptions(lago: Lago) -> None:
    await lago.api.delete("/customers/DRIVER-1")

    assert (await lago.api.get("/customers/DRIVER-1")).status_code == 404
    assert (await lago.api.get("/subscriptions/SUB-1?status=terminated")).status_code == 200
