"""The safety gate: a metric that would not count our events stops sending, visibly, until it is right again."""

from typing import Any

import pytest
from tests.integration.lago.conftest import METRIC, Post, Town

from billing_bridge.safety.service import whats_wrong
from polaris_common.http.transport import ATTEMPTS
from polaris_sim.faults import Fault, FaultRule
from polaris_sim.lago.models import Aggregation

RIGHT: dict[str, Any] = {"aggregation_type": "sum_agg", "field_name": "value", "recurring": False}


@pytest.mark.parametrize(
    ("metric", "wrong"),
    [
        (RIGHT, None),
        ({**RIGHT, "recurring": None}, None),
        ({**RIGHT, "aggregation_type": "max_agg"}, "aggregation_type"),
        ({**RIGHT, "aggregation_type": "shiny_agg"}, "aggregation_type"),
        ({**RIGHT, "field_name": "kwh"}, "field_name"),
        ({**RIGHT, "field_name": None}, "field_name"),
        ({**RIGHT, "recurring": True}, "recurring"),
        ({}, "aggregation_type"),
    ],
)
def test_only_a_sum_of_value_over_a_period_counts_our_events(metric: dict[str, Any], wrong: str | None) -> None:
    assert whats_wrong(metric) == wrong


async def waiting_event(town: Town) -> None:
    """One event that waits to be sent."""
    await town.charging(await town.card("c-1"), 1)
    await town.execute(
        "INSERT INTO energy_slices (session_id, slice_index, from_wh, to_wh, started_at, ended_at, final,"
        " subscription_external_id) SELECT id, 0, 0, 1000, now(), now(), true, 's-1' FROM charging_sessions"
    )
    body = (
        f'{{"transaction_id":"steve_tx_1_0_1000","external_subscription_id":"s-1","code":"{METRIC}",'
        '"timestamp":"1772366400.000","properties":{"value":"1.000"}}'
    )
    await town.execute(
        "INSERT INTO lago_events (slice_id, transaction_id, body)"
        " SELECT id, 'steve_tx_1_0_1000', :body FROM energy_slices",
        body=body,
    )


async def test_a_wrong_metric_stops_sending_and_alerts_once(town: Town) -> None:
    town.subscribe(town.customer(), "s-1")
    await waiting_event(town)
    town.lago.catalog.update_metric(METRIC, {"field_name": "kwh"})
    await town.mirror.refresh()
    await town.mirror.refresh()
    await town.sender.send_due()
    assert not await town.gate.sending_allowed()
    assert (await town.row("SELECT status, attempts FROM lago_events")).attempts == 0
    assert await town.events("billing.stopped") == [{"reason": "field_name", "metricCode": METRIC}]
    assert await town.health("lago") == "metric_misconfigured"
    audience = await town.row("SELECT audience FROM domain_events WHERE type = 'billing.stopped'")
    assert audience.audience == ["operators"]


async def test_once_the_metric_is_right_again_what_waited_is_sent(town: Town) -> None:
    town.subscribe(town.customer(), "s-1")
    await waiting_event(town)
    town.lago.catalog.update_metric(METRIC, {"field_name": "kwh"})
    await town.mirror.refresh()
    town.lago.catalog.update_metric(METRIC, {"field_name": "value"})
    await town.mirror.refresh()
    await town.sender.send_due()
    assert str(town.lago.units("s-1", METRIC)) == "1.000"
    assert await town.events("billing.resumed") == [{"metricCode": METRIC}]
    assert await town.health("lago") is None


async def test_before_the_first_look_nothing_is_sent_into_the_blue(town: Town) -> None:
    town.lago.organization.metrics[METRIC].aggregation = Aggregation.COUNT
    town.subscribe(town.customer(), "s-1")
    await waiting_event(town)
    await town.sender.send_due()
    assert (await town.row("SELECT status FROM lago_events")).status == "pending"


async def test_as_long_as_nobody_could_look_nothing_is_sent(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0)
    faults = town.lago.config.faults
    faults.replace([FaultRule(Fault.RESET, path="/billable_metrics")])
    assert [await town.gate.sending_allowed() for _ in range(5)] == [False] * 5
    assert faults.injected == {Fault.RESET: ATTEMPTS}, "a Lago that is away is not asked every second"
    faults.replace([])
    monkeypatch.setattr("billing_bridge.safety.service.ASK_AGAIN_SECONDS", 0.0)
    assert await town.gate.sending_allowed()
    assert await town.events("billing.stopped") == []


async def test_a_metric_that_does_not_exist_stops_sending(town: Town) -> None:
    town.lago.catalog.delete_metric(METRIC)
    assert await town.gate.check() == "metric_misconfigured"
    assert (await town.events("billing.stopped"))[0]["reason"] == "missing"


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("fault", [Fault.HTML_502, Fault.RESET, Fault.ERROR_BEFORE])
async def test_a_lago_that_cannot_be_asked_leaves_the_verdict_as_it_is(
    town: Town, right: bool, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polaris_common.http.transport.BASE_DELAY_SECONDS", 0)
    if not right:
        town.lago.catalog.update_metric(METRIC, {"field_name": "kwh"})
    await town.gate.check()
    town.lago.config.faults.replace([FaultRule(fault)])
    await town.gate.check()
    assert await town.gate.sending_allowed() is right


async def test_a_refused_key_is_no_wrong_metric(town: Town) -> None:
    await town.gate.check()
    town.lago.config.api_key = "rotated"
    await town.gate.check()
    assert await town.gate.sending_allowed()
    assert await town.events("billing.stopped") == []


async def test_a_metric_webhook_makes_the_gate_look_at_once(town: Town, post: Post) -> None:
    await town.mirror.refresh()
    town.lago.catalog.update_metric(METRIC, {"field_name": "kwh"})
    await post.settle()
    assert not await town.gate.sending_allowed()
    assert (await town.row("SELECT field_name FROM lago_billable_metrics")).field_name == "kwh"


async def test_a_plan_in_use_without_a_charge_is_warned_about_once_and_stops_nothing(town: Town) -> None:
    town.lago.catalog.create_plan({"name": "Flat", "code": "flat", "interval": "monthly"})
    town.lago.catalog.create_plan({"name": "Unused", "code": "unused", "interval": "monthly"})
    town.subscribe(town.customer("c-1"), "s-1", plan="flat")
    town.subscribe(town.customer("c-2"), "s-2", plan="unused")
    await town.card("c-1")
    for _ in range(2):
        await town.mirror.refresh()
    assert await town.gate.sending_allowed()
    assert [event["sourceId"] for event in await town.events("operator.notice")] == ["flat"]
    assert (await town.health("lago"), await town.health("lago_metric")) == (None, "plan_without_charge")
