"""Webhooks: signatures, attempts, and deliveries that go wrong (facts 14 to 17)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.contract.lago_sim.conftest import Lago


async def rename(lago: Lago, *names: str) -> None:
    """Change the customer, which emits ``customer.updated``."""
    for name in names:
        await lago.api.post("/customers", json={"customer": {"external_id": "DRIVER-1", "name": name}})


async def test_a_delivery_is_signed_over_its_exact_bytes(lago: Lago) -> None:
    await lago.listen()

    await rename(lago, "A < B & C")
    [body] = await lago.webhooks()

    [request] = lago.received
    digest = hmac.new(b"lago-sim-hmac-key", request.content, hashlib.sha256).digest()
    assert request.headers["x-lago-signature"] == base64.b64encode(digest).decode()
    assert request.headers["x-lago-signature-algorithm"] == "hmac"
    assert b"A \\u003c B \\u0026 C" in request.content
    assert (body["webhook_type"], body["object_type"], body["customer"]["name"]) == (
        "customer.updated",
        "customer",
        "A < B & C",
    )


@pytest.mark.parametrize("failure", [500, 302, 206, httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])
async def test_a_failed_delivery_is_tried_three_times_with_the_same_key_and_bytes(
    lago: Lago, failure: int | Exception
) -> None:
    await lago.listen()
    lago.webhook_answers = [failure] * 5

    await rename(lago, "Ada")
    await lago.webhooks()

    assert len(lago.received) == 3
    assert len({request.headers["x-lago-unique-key"] for request in lago.received}) == 1
    assert len({request.content for request in lago.received}) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_four_statuses_count_as_received(lago: Lago, status: int) -> None:
    await lago.listen()
    lago.webhook_answers = [status]

    await rename(lago, "Ada")
    await lago.webhooks()

    assert len(lago.received) == 1


async def test_the_payload_shows_the_object_as_it_is_when_the_job_runs(lago: Lago) -> None:
    await lago.listen()
    lago.simulator.customers.upsert({"external_id": "DRIVER-1", "name": "before"})
    lago.simulator.customers.upsert({"external_id": "DRIVER-1", "name": "after"})

    assert [body["customer"]["name"] for body in await lago.webhooks()] == ["after", "after"]


async def test_an_endpoint_gets_the_types_it_asked_for(lago: Lago) -> None:
    await lago.listen(event_types=["invoice.created"])

    await rename(lago, "Ada")
    lago.until("2026-09-01T01:00:00+00:00")
    await lago.invoices()

    assert [body["webhook_type"] for body in await lago.webhooks()] == ["invoice.created"]


async def test_billing_and_subscriptions_tell_what_happened(premium: Lago) -> None:
    await premium.listen()
    premium.until("2026-09-01T01:00:00+00:00")
    [draft] = await premium.invoices()
    await premium.api.put(f"/invoices/{draft['lago_id']}/finalize")
    await premium.api.post(f"/invoices/{draft['lago_id']}/download")
    await premium.api.post(f"/invoices/{draft['lago_id']}/void")
    await premium.api.delete("/subscriptions/SUB-1?on_termination_invoice=skip")

    assert [body["webhook_type"] for body in await premium.webhooks()] == [
        "invoice.drafted",
        "invoice.created",
        "invoice.generated",
        "invoice.voided",
        "subscription.terminated",
    ]


async def test_a_failed_payment_is_told_by_webhook_only(lago: Lago) -> None:
    await lago.listen(event_types=["invoice.payment_failure", "invoice.payment_status_updated"])
    await lago.send(lago.event("10"))
    lago.until("2026-09-01T01:00:00+00:00")
    [invoice] = await lago.invoices()

    await lago.api.post(f"/invoices/{invoice['lago_id']}/retry_payment")
    await lago.api.put(f"/invoices/{invoice['lago_id']}", json={"invoice": {"payment_status": "succeeded"}})

    failure, update = await lago.webhooks()
    assert failure["payment_provider_invoice_payment_error"]["lago_invoice_id"] == invoice["lago_id"]
    assert update["invoice"]["payment_status"] == "succeeded"


async def test_duplicates_have_the_same_unique_key(lago: Lago) -> None:
    await lago.listen()
    await lago.control.put("/config", json={"webhooks": {"duplicate": True}})

    await rename(lago, "Ada")
    await lago.webhooks()

    assert len(lago.received) == 2
    assert len({request.headers["x-lago-unique-key"] for request in lago.received}) == 1


async def test_out_of_order_delivery_sends_the_newest_first(lago: Lago) -> None:
    await lago.listen(event_types=["plan.created", "customer.updated"])
    await lago.control.put("/config", json={"webhooks": {"outOfOrder": True}})

    lago.simulator.customers.upsert({"external_id": "DRIVER-1"})
    lago.simulator.catalog.create_plan({"name": "P", "code": "p", "interval": "monthly"})

    assert [body["webhook_type"] for body in await lago.webhooks()] == ["plan.created", "customer.updated"]


async def test_dropped_deliveries_never_arrive(lago: Lago) -> None:
    await lago.listen()
    await lago.control.put("/config", json={"webhooks": {"drop": 1}})

    await rename(lago, "Ada")

    assert await lago.webhooks() == []
    assert (await lago.control.get("/webhooks")).json()["dropped"] == 1


async def test_bad_events_of_the_past_hour_are_reported_five_past(lago: Lago) -> None:
    await lago.listen(event_types=["events.errors"])
    await lago.send(
        lago.event(),
        lago.event(code="none", transaction_id="code"),
        lago.event("x", transaction_id="value"),
        lago.event(properties={"tariff_window": "midnight"}, transaction_id="filter"),
    )
    lago.until("2026-08-21T11:04:59+00:00")
    lago.simulator.roll_over()
    assert await lago.webhooks() == []

    lago.until("2026-08-21T13:30:00+00:00")
    lago.simulator.roll_over()

    [body] = await lago.webhooks()
    assert body["events_errors"] == {
        "invalid_code": ["code"],
        "missing_aggregation_property": ["value"],
        "invalid_filter_values": ["filter"],
        "missing_group_key": None,
    }


async def test_clickhouse_never_reports_bad_events(clickhouse: Lago) -> None:
    await clickhouse.listen(event_types=["events.errors"])
    await clickhouse.send(clickhouse.event(code="none"))
    clickhouse.until("2026-08-21T13:30:00+00:00")
    clickhouse.simulator.roll_over()

    assert await clickhouse.webhooks() == []


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"webhook_url": "http://bridge.test/hook"}, {"webhook_url": ["value_already_exist"]}),
        ({"webhook_url": "bridge"}, {"webhook_url": ["url_invalid"]}),
        ({"event_types": ["invoice.invented"]}, {"event_types": ["invalid_types"]}),
        ({"signature_algo": "md5"}, {"signature_algo": ["value_is_invalid"]}),
    ],
)
async def test_an_endpoint_that_cannot_be_is_refused(
    lago: Lago, fields: dict[str, object], details: dict[str, object]
) -> None:
    await lago.listen()

    body = {"webhook_url": "http://bridge.test/other", **fields}
    response = await lago.api.post("/webhook_endpoints", json={"webhook_endpoint": body})

    assert (response.status_code, response.json()["error_details"]) == (422, details)


async def test_there_are_at_most_ten_endpoints_and_they_can_be_changed_and_removed(lago: Lago) -> None:
    for number in range(10):
        await lago.listen(webhook_url=f"http://bridge.test/{number}")
    eleventh = await lago.api.post("/webhook_endpoints", json={"webhook_endpoint": {"webhook_url": "http://b.test"}})
    listed = (await lago.api.get("/webhook_endpoints")).json()["webhook_endpoints"]
    path = f"/webhook_endpoints/{listed[0]['lago_id']}"

    changed = await lago.api.put(path, json={"webhook_endpoint": {"event_types": ["invoice.created"]}})
    await lago.api.delete(path)

    assert (eleventh.status_code, len(listed)) == (422, 10)
    assert changed.json()["webhook_endpoint"]["event_types"] == ["invoice.created"]
    assert (await lago.api.get(path)).status_code == 404


async def test_a_test_sends_any_webhook_at_once(lago: Lago) -> None:
    await lago.listen()
    body = {"webhook_type": "fee.created", "object_type": "fee", "object": {"lago_id": "x"}, "times": 2}

    sent = (await lago.control.post("/webhooks/send", json=body)).json()["records"]

    assert [record["statuses"] for record in sent] == [[200], [200]]
    assert [json.loads(request.content)["fee"] for request in lago.received] == [{"lago_id": "x"}] * 2
