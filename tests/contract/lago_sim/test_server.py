"""Access, paging, capabilities, the control API and lost answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.types import ASGIApp

from polaris_sim.faults import Fault, FaultRule

if TYPE_CHECKING:
    from tests.contract.lago_sim.conftest import Lago

    Serve = Callable[[ASGIApp], contextlib.AbstractAsyncContextManager[str]]

BEARER = {"authorization": "Bearer lago-sim-key"}


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong"])
async def test_without_the_right_key_the_answer_is_a_401(lago: Lago, header: str) -> None:
    response = await lago.api.get("/plans", headers={"authorization": header})

    assert (response.status_code, response.json()) == (401, {"status": 401, "error": "Unauthorized"})


async def test_health_needs_no_key(lago: Lago) -> None:
    response = await lago.control.get("http://lago.test/health")

    assert set(response.json()) == {"version", "github_url", "message"}


async def test_the_organization_tells_its_event_store(either: Lago) -> None:
    organization = (await either.api.get("/organizations")).json()["organization"]

    assert organization["events_store"] == either.simulator.config.store


async def test_lists_are_paged_by_number(lago: Lago) -> None:
    await lago.send(*[lago.event() for _ in range(5)])

    first = (await lago.api.get("/events?per_page=2")).json()
    last = (await lago.api.get("/events?per_page=2&page=3")).json()
    beyond = (await lago.api.get("/events?per_page=2&page=4")).json()

    assert first["meta"] == {
        "current_page": 1,
        "next_page": 2,
        "prev_page": None,
        "total_pages": 3,
        "total_count": 5,
    }
    assert (len(last["events"]), last["meta"]["next_page"], last["meta"]["prev_page"]) == (1, None, 2)
    assert beyond["events"] == []


async def test_a_stale_total_count_hides_new_items_from_whoever_trusts_it(lago: Lago) -> None:
    await lago.control.put("/config", json={"staleCache": True})
    lago.until("2026-09-02T00:00:00+00:00")
    await lago.api.get("/invoices?per_page=1")
    lago.until("2026-10-02T00:00:00+00:00")

    assert (await lago.api.get("/invoices?per_page=1")).json()["meta"]["total_pages"] == 1
    assert len((await lago.api.get("/invoices?per_page=1&page=2")).json()["invoices"]) == 1


async def test_plans_and_metrics_are_created_changed_and_deleted(lago: Lago) -> None:
    metric = (await lago.api.get("/billable_metrics/ev_energy")).json()["billable_metric"]
    charge = {"billable_metric_id": metric["lago_id"], "charge_model": "standard", "properties": {"amount": "1"}}
    plan = {"name": "P", "code": "p", "interval": "monthly", "amount_cents": 0, "amount_currency": "EUR"}

    created = await lago.api.post("/plans", json={"plan": {**plan, "charges": [charge]}})
    twice = await lago.api.post("/plans", json={"plan": plan})
    renamed = await lago.api.put("/plans/p", json={"plan": {"name": "Q"}})
    await lago.api.delete("/plans/p")

    assert created.json()["plan"]["charges"][0]["billable_metric_code"] == "ev_energy"
    assert twice.json()["error_details"] == {"code": ["value_already_exist"]}
    assert renamed.json()["plan"]["name"] == "Q"
    assert (await lago.api.get("/plans/p")).json()["code"] == "plan_not_found"


async def test_a_metric_needs_a_field_unless_it_counts(lago: Lago) -> None:
    body = {"name": "M", "code": "m", "aggregation_type": "sum_agg"}

    refused = await lago.api.post("/billable_metrics", json={"billable_metric": body})
    counting = await lago.api.post(
        "/billable_metrics", json={"billable_metric": {**body, "aggregation_type": "count_agg"}}
    )

    assert (refused.status_code, refused.json()["error_details"]) == (422, {"field_name": ["value_is_mandatory"]})
    assert counting.status_code == 200


async def test_a_licensed_charge_model_is_refused_without_licence(lago: Lago) -> None:
    charge = {"billable_metric_code": "ev_energy", "charge_model": "graduated_percentage"}
    body = {"name": "P", "code": "p", "interval": "monthly", "charges": [charge]}

    assert (await lago.api.post("/plans", json={"plan": body})).status_code == 403
    await lago.control.put("/config", json={"premium": True})
    assert (await lago.api.post("/plans", json={"plan": body})).status_code == 200


async def test_a_wallet_holds_the_granted_credits(lago: Lago) -> None:
    body = {"external_customer_id": "DRIVER-1", "rate_amount": "1", "currency": "EUR", "granted_credits": "12.5"}

    created = (await lago.api.post("/wallets", json={"wallet": body})).json()["wallet"]
    listed = (await lago.api.get("/wallets?external_customer_id=DRIVER-1")).json()["wallets"]

    assert (created["credits_balance"], created["balance_cents"]) == ("12.5", 1250)
    assert listed == [created]
    assert (await lago.api.get(f"/wallets/{created['lago_id']}")).json()["wallet"] == created


async def test_switching_the_store_judges_old_events_by_the_new_key(clickhouse: Lago) -> None:
    event = clickhouse.event("1", transaction_id="a")
    await clickhouse.send(event, {**event, "timestamp": "1787302801"})
    assert await clickhouse.units() == 2

    await clickhouse.control.put("/config", json={"store": "postgres"})

    assert await clickhouse.units() == 1
    assert (await clickhouse.send(event)).status_code == 422


async def test_the_clock_can_be_read_set_and_advanced(lago: Lago) -> None:
    await lago.control.put("/clock", json={"now": "2026-09-01T00:00:00Z", "advanceSeconds": 3600})

    assert (await lago.control.get("/clock")).json() == {"now": "2026-09-01T01:00:00+00:00"}
    assert len(await lago.invoices()) == 1
    assert (await lago.control.put("/clock", json={"now": "2026-09-01"})).status_code == 422


async def test_a_thousand_customers_are_seeded_in_one_request_without_webhooks(lago: Lago) -> None:
    await lago.listen()
    customers = [{"external_id": f"D-{n}"} for n in range(1000)]
    subscriptions = [
        {"external_customer_id": f"D-{n}", "external_id": f"S-{n}", "plan_code": "standard"} for n in range(1000)
    ]

    seeded = await lago.control.post("/seed", json={"customers": customers, "subscriptions": subscriptions})
    wrong = await lago.control.post("/seed", json={"subscriptions": [{**subscriptions[0], "plan_code": "none"}]})

    assert (seeded.json()["customers"], seeded.json()["subscriptions"]) == (1000, 1000)
    assert wrong.status_code == 404
    assert await lago.webhooks() == []
    assert (await lago.api.get("/subscriptions")).json()["meta"]["total_count"] == 1001


async def test_raw_events_are_read_from_where_one_stopped(lago: Lago) -> None:
    await lago.send(lago.event(transaction_id="a"), lago.event(transaction_id="b"))

    first = (await lago.control.get("/events?external_subscription_id=SUB-1")).json()
    await lago.send(lago.event(transaction_id="c"))
    more = (await lago.control.get(f"/events?external_subscription_id=SUB-1&after={first['next']}")).json()

    assert [event["transaction_id"] for event in first["events"]] == ["a", "b"]
    assert [event["transaction_id"] for event in more["events"]] == ["c"]


async def test_an_error_after_the_work_leaves_the_events_stored(lago: Lago) -> None:
    rule = {"fault": "error_after", "method": "POST", "path": "/events/batch$", "times": 1, "status": 503}
    await lago.control.put("/faults", json={"seed": 1, "rules": [rule]})
    event = lago.event()

    answers = [(await lago.send(event)).status_code for _ in range(2)]

    assert answers == [503, 422]
    assert await lago.units() == 1
    served = (await lago.control.get("/requests")).json()
    assert served["faults"] == {"error_after": 1}
    batch = {"method": "POST", "path": "/api/v1/events/batch", "status": 200, "count": 1}
    assert batch in served["requests"]


async def test_rate_limits_proxies_and_errors_do_no_work(lago: Lago) -> None:
    faults = [
        {"fault": "rate_limited", "times": 1, "seconds": 3},
        {"fault": "html_502", "times": 1},
        {"fault": "error_before", "times": 1},
    ]
    await lago.control.put("/faults", json={"rules": faults})

    limited, proxied, failed = [await lago.send(lago.event()) for _ in range(3)]

    assert (limited.status_code, limited.headers["x-ratelimit-reset"]) == (429, "3")
    assert (proxied.status_code, proxied.headers["content-type"]) == (502, "text/html")
    assert failed.status_code == 500
    assert await lago.units() == 0
    assert (await lago.control.put("/faults", json={"rules": [{"fault": "none"}]})).status_code == 422


@pytest.mark.parametrize(("fault", "units"), [(Fault.RESET, 1), (Fault.RESET_AFTER, 2), (Fault.TRUNCATED, 2)])
async def test_a_connection_lost_on_a_real_socket_looks_like_one(
    lago: Lago, serve: Serve, fault: Fault, units: int
) -> None:
    async with serve(lago.app) as url, httpx.AsyncClient(base_url=url, headers=BEARER, trust_env=False) as client:
        sent = await client.post("/api/v1/events", json={"event": lago.event()})
        lago.simulator.config.faults.replace([FaultRule(fault, times=1)])
        with pytest.raises(httpx.TransportError):
            await client.post("/api/v1/events", json={"event": lago.event()})

    assert sent.status_code == 200
    assert await lago.units() == units
