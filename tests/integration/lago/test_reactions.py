"""What follows from Lago's webhooks (domain.md §3.6)."""

from typing import Any

import pytest
from tests.integration.lago.conftest import METRIC, Post, Town


async def state(town: Town, mapping: int) -> tuple[bool, str | None]:
    """Whether a card works, and why not."""
    row = await town.row("SELECT is_active, deactivation_reason FROM tag_mappings WHERE id = :id", id=mapping)
    return row.is_active, row.deactivation_reason


OFF = (False, "subscription_terminated")
ON = (True, None)


async def test_the_cards_of_an_ended_subscription_go_off_and_on_again_with_the_next(town: Town, post: Post) -> None:
    named = await town.card("c-1", "NAMED", lago_subscription_external_id="s-1")
    of_customer = await town.card("c-1", "CUSTOMER")
    town.subscribe(town.customer(), "s-1")
    await post.settle()
    town.terminate("s-1")
    await post.settle()
    assert [await state(town, card) for card in (named, of_customer)] == [OFF, OFF]
    town.subscribe("c-1", "s-1")
    await post.settle()
    assert [await state(town, card) for card in (named, of_customer)] == [ON, ON]


@pytest.mark.parametrize("reason", ["reported_lost", "operator", "expired", None])
async def test_a_card_that_is_off_for_another_reason_is_never_revived(
    town: Town, post: Post, reason: str | None
) -> None:
    lost = await town.card("c-1", is_active=False, deactivation_reason=reason)
    town.subscribe(town.customer(), "s-1")
    await post.settle()
    town.terminate("s-1")
    await post.settle()
    town.subscribe("c-1", "s-2")
    await post.settle()
    await town.mirror.refresh()
    assert await state(town, lost) == (False, reason)


async def test_a_card_that_is_reported_lost_while_its_subscription_has_ended_stays_off(town: Town, post: Post) -> None:
    card = await town.card("c-1")
    town.subscribe(town.customer(), "s-1")
    town.terminate("s-1")
    await post.settle()
    assert await state(town, card) == OFF
    await town.execute("UPDATE tag_mappings SET deactivation_reason = 'reported_lost'")
    town.subscribe("c-1", "s-2")
    await post.settle()
    assert await state(town, card) == (False, "reported_lost")


async def test_a_customer_with_another_subscription_keeps_the_cards_that_name_none(town: Town, post: Post) -> None:
    named = await town.card("c-1", "NAMED", lago_subscription_external_id="s-1")
    of_customer = await town.card("c-1", "CUSTOMER")
    town.subscribe(town.customer(), "s-1")
    town.subscribe("c-1", "s-2")
    town.terminate("s-1")
    await post.settle()
    assert [await state(town, card) for card in (named, of_customer)] == [OFF, ON]


async def test_an_upgrade_switches_nothing_off(town: Town, post: Post) -> None:
    card = await town.card("c-1", lago_subscription_external_id="s-1")
    town.subscribe(town.customer(), "s-1")
    town.subscribe("c-1", "s-1", plan="dear")
    await post.settle()
    assert await state(town, card) == ON
    assert await town.events("cards.switched") == []


async def test_a_card_of_somebody_else_and_a_comped_one_stay_on(town: Town, post: Post) -> None:
    stranger = await town.card("c-2", "STRANGER")
    comped = await town.card("c-1", "COMPED", billing_tier="comped")
    town.subscribe(town.customer(), "s-1")
    town.terminate("s-1")
    await post.settle()
    assert [await state(town, card) for card in (stranger, comped)] == [ON, ON]


async def test_a_subscription_that_waits_to_start_keeps_the_card(town: Town, post: Post) -> None:
    card = await town.card("c-1")
    town.subscribe(town.customer(), "s-1")
    later = {"external_customer_id": "c-1", "external_id": "s-2", "plan_code": "standard"}
    town.lago.subscriptions.create({**later, "subscription_at": "2027-01-01T00:00:00Z"})
    town.terminate("s-1")
    await post.settle()
    assert await state(town, card) == ON


async def test_without_webhooks_the_next_refresh_switches_the_cards(town: Town) -> None:
    card = await town.card("c-1")
    town.subscribe(town.customer(), "s-1")
    await town.mirror.refresh()
    town.terminate("s-1")
    await town.mirror.refresh()
    assert await state(town, card) == OFF
    town.subscribe("c-1", "s-2")
    await town.mirror.refresh()
    assert await state(town, card) == ON


async def test_a_card_without_any_known_subscription_is_left_alone(town: Town) -> None:
    card = await town.card(town.customer())
    unknown = await town.card(None, "OTHER", lago_subscription_external_id="never heard of")
    await town.mirror.refresh()
    assert [await state(town, one) for one in (card, unknown)] == [ON, ON]


async def test_sessions_on_cards_that_go_off_are_to_be_stopped_inherited_ones_too(town: Town, post: Post) -> None:
    card, other = await town.card("c-1"), await town.card("c-2", "OTHER")
    await town.charging(card, 1)
    await town.charging(card, 2, id_tag="CHILD")
    await town.charging(other, 3, id_tag="OTHER")
    town.subscribe(town.customer(), "s-1")
    town.terminate("s-1")
    await post.settle()
    wanted = await town.events("session.stop_wanted")
    assert [(event["transactionId"], event["reason"]) for event in wanted] == [
        (1, "subscription_terminated"),
        (2, "subscription_terminated"),
    ]


async def test_the_driver_and_operators_hear_of_switched_cards(town: Town, post: Post) -> None:
    user = await town.user(email="ada@example.com")
    card = await town.card("c-1", user_id=user)
    town.subscribe(town.customer(), "s-1")
    town.terminate("s-1")
    await post.settle()
    row = await town.row("SELECT audience, payload FROM domain_events WHERE type = 'cards.switched'")
    assert row.audience == ["operators", f"user:{user}"]
    assert (row.payload["active"], row.payload["userMappingIds"]) == (False, [card])
    assert sorted(await town.notices()) == ["lago_subscription_started", "lago_subscription_terminated"]


async def test_a_missing_address_is_taken_over_from_lago(town: Town, post: Post) -> None:
    user = await town.user(lago_customer_external_id="c-1")
    town.customer(email="ada@example.com")
    await post.settle()
    assert (await town.row("SELECT email FROM users WHERE id = :id", id=user)).email == "ada@example.com"
    assert await town.notices() == ["lago_email_backfilled"]


async def test_an_account_is_also_found_through_its_cards(town: Town, post: Post) -> None:
    user = await town.user()
    await town.card("c-1", user_id=user)
    town.customer(email="ada@example.com")
    await post.settle()
    assert (await town.row("SELECT email FROM users")).email == "ada@example.com"


@pytest.mark.parametrize(
    ("lago", "notices"), [("Ada@Example.com", []), ("b@example.com", ["lago_email_drift"]), (None, [])]
)
async def test_an_address_that_we_have_is_never_overwritten(
    town: Town, post: Post, lago: str | None, notices: list[str]
) -> None:
    await town.user(lago_customer_external_id="c-1", email="ada@example.com")
    town.customer(email=lago)
    await post.settle()
    assert (await town.row("SELECT email FROM users")).email == "ada@example.com"
    assert await town.notices() == notices


async def test_an_address_that_somebody_else_has_is_told_and_is_no_failure(town: Town, post: Post) -> None:
    user = await town.user(lago_customer_external_id="c-1")
    await town.user(email="ADA@example.com")
    town.customer(email="ada@example.com")
    await post.settle()
    assert (await town.row("SELECT email FROM users WHERE id = :id", id=user)).email is None
    assert (await post.statuses(), await town.notices()) == (["processed"], ["lago_email_drift"])


async def test_a_customer_that_lago_no_longer_has_is_marked_so(town: Town, post: Post) -> None:
    town.customer()
    await post.settle()
    shown = await town.row("SELECT lago_id, payload FROM lago_customers")
    town.lago.subscriptions.delete_customer("c-1")
    await post.send("customer.deleted", "customer", shown.payload)
    assert (await town.row("SELECT deleted_at FROM lago_customers")).deleted_at is not None


async def invoiced(town: Town) -> str:
    """A customer's final invoice."""
    town.subscribe(town.customer(), "s-1")
    town.lago.subscriptions.terminate(next(iter(town.lago.organization.all_subscriptions())))
    return next(iter(town.lago.organization.invoices))


async def test_an_invoice_webhook_reaches_its_payer_and_operators(town: Town, post: Post) -> None:
    user = await town.user(lago_customer_external_id="c-1", email="ada@example.com")
    lago_id = await invoiced(town)
    await post.settle()
    row = await town.row("SELECT audience, payload FROM domain_events WHERE type = 'invoice.updated'")
    assert row.audience == ["operators", f"user:{user}"]
    assert row.payload == {
        "invoiceId": lago_id,
        "status": "finalized",
        "paymentStatus": "pending",
        "paymentOverdue": False,
        "webhookType": "invoice.created",
    }
    assert "lago_invoice_created" in await town.notices()
    fees = await town.row("SELECT count(*) AS n FROM lago_fees WHERE invoice_lago_id = :id", id=lago_id)
    assert fees.n == 1


async def test_a_failed_payment_is_told_to_operators(town: Town, post: Post) -> None:
    lago_id = await invoiced(town)
    town.lago.invoices.update(lago_id, {"payment_status": "failed"})
    town.lago.invoices.retry_payment(lago_id)
    await post.settle()
    assert (await town.notices()).count("lago_invoice_payment_failed") == 1
    types = {event["webhookType"] for event in await town.events("invoice.updated")}
    assert types == {"invoice.created", "invoice.payment_status_updated", "invoice.payment_failure"}


async def wallet(town: Town, credits_left: str) -> dict[str, Any]:
    """A wallet, as its webhook shows it."""
    terms = {"currency": "EUR", "rate_amount": "1", "granted_credits": credits_left}
    made = town.lago.create_wallet({"external_customer_id": town.customer(), **terms})
    return {"lago_id": made.lago_id, "external_customer_id": "c-1"}


@pytest.mark.parametrize(("credits_left", "stopped"), [("0", 1), ("5", 0)])
async def test_an_empty_wallet_stops_the_customers_sessions_unless_it_was_filled_since(
    town: Town, post: Post, credits_left: str, stopped: int
) -> None:
    await town.charging(await town.card("c-1"), 1)
    await post.send("wallet.depleted_ongoing_balance", "wallet", await wallet(town, credits_left))
    assert len(await town.events("session.stop_wanted")) == stopped


async def test_a_wallet_transaction_brings_its_wallet_up_to_date(town: Town, post: Post) -> None:
    lago_id = (await wallet(town, "7"))["lago_id"]
    await post.send("wallet_transaction.created", "wallet_transaction", {"lago_id": "t", "lago_wallet_id": lago_id})
    assert (await town.row("SELECT balance_cents FROM lago_wallets")).balance_cents == 700


@pytest.mark.parametrize(
    ("alert", "stopped"),
    [({"enforce_stop": True}, 1), ({"metadata": {"enforce_stop": "true"}}, 1), ({"enforce_stop": False}, 0), (None, 0)],
)
async def test_a_usage_threshold_stops_sessions_only_when_it_says_so(
    town: Town, post: Post, alert: dict[str, Any] | None, stopped: int
) -> None:
    await town.charging(await town.card("c-1"), 1)
    town.subscribe(town.customer(), "s-1")
    about = {"lago_id": "x", "external_id": "s-1", "external_customer_id": "c-1", "alert": alert}
    await post.send("subscription.usage_threshold_reached", "subscription", about)
    assert [event["reason"] for event in await town.events("session.stop_wanted")] == ["usage_cap_exceeded"] * stopped


THRESHOLD = ("subscription.usage_threshold_reached", "subscription", {"usage_threshold": {"amount_cents": 5_000}})
ALERT = ("alert.triggered", "triggered_alert", {"alert_code": "spend", "crossed_thresholds": [{"value": "50"}]})
ODD_ALERT = ("alert.triggered", "triggered_alert", {"alert_code": None, "crossed_thresholds": "odd"})


@pytest.mark.parametrize("through_a_card", [True, False])
@pytest.mark.parametrize(
    ("webhook", "limit"), [(THRESHOLD, "5000"), (ALERT, "spend:50"), (ODD_ALERT, "alert.triggered")]
)
async def test_a_driver_hears_of_a_limit_of_usage_that_is_reached(
    town: Town, post: Post, webhook: tuple[str, str, dict[str, Any]], limit: str, *, through_a_card: bool
) -> None:
    user = await town.user(lago_customer_external_id=None if through_a_card else "c-1")
    await town.card("c-1", user_id=user)
    town.subscribe(town.customer(), "s-1")
    kind, object_type, content = webhook
    subscription = "external_id" if object_type == "subscription" else "external_subscription_id"
    await post.send(kind, object_type, {"lago_id": "x", "external_customer_id": "c-1", subscription: "s-1", **content})
    row = await town.row("SELECT audience, payload FROM domain_events WHERE type = 'usage.limit_reached'")
    assert row.audience == ["operators", f"user:{user}"]
    assert row.payload == {"subscription": "s-1", "limit": limit}


async def test_an_alert_about_a_wallet_is_no_limit_of_usage(town: Town, post: Post) -> None:
    await town.user(lago_customer_external_id=town.customer())
    await post.send(
        "alert.triggered", "triggered_alert", {"lago_id": "x", "external_customer_id": "c-1", "lago_wallet_id": "w"}
    )
    assert (await town.notices(), await town.events("usage.limit_reached")) == (["lago_alert_triggered"], [])


@pytest.mark.parametrize(
    ("kind", "object_type", "notice"),
    [
        ("alert.triggered", "triggered_alert", "lago_alert_triggered"),
        (
            "wallet_transaction.payment_failure",
            "payment_provider_wallet_transaction_payment_error",
            "lago_wallet_transaction_payment_failure",
        ),
    ],
)
async def test_operators_are_told(town: Town, post: Post, kind: str, object_type: str, notice: str) -> None:
    await post.send(kind, object_type, {"lago_id": "x", "external_customer_id": "c-1"})
    assert await town.notices() == [notice]


async def sent_event(town: Town) -> None:
    """One event that Lago has taken."""
    await town.charging(await town.card("c-1"), 1)
    await town.execute(
        "INSERT INTO energy_slices (session_id, slice_index, from_wh, to_wh, started_at, ended_at, final,"
        " subscription_external_id) SELECT id, 0, 0, 1500, now(), now(), true, 's-1' FROM charging_sessions"
    )
    await town.execute(
        "INSERT INTO lago_events (slice_id, transaction_id, body, status, delivered_at)"
        " SELECT id, 'steve_tx_1_0_1500', '{}', 'delivered', now() FROM energy_slices"
    )


@pytest.mark.parametrize("reason", ["invalid_code", "missing_aggregation_property"])
async def test_an_event_that_lago_will_never_count_is_quarantined_and_found(
    town: Town, post: Post, reason: str
) -> None:
    await sent_event(town)
    errors = {reason: ["steve_tx_1_0_1500", "somebody else's"], "invalid_filter_values": None}
    for _ in range(2):
        await post.send("events.errors", "events_errors", errors)
    event = await town.row("SELECT status, last_error FROM lago_events")
    assert tuple(event) == ("quarantined", f"events.errors: {reason}")
    finding = await town.row(
        "SELECT kind, subject, subscription_external_id, difference_wh FROM reconciliation_findings"
    )
    assert tuple(finding) == ("dead_in_lago", "steve_tx_1_0_1500", "s-1", 1_500)


async def test_an_event_that_is_only_priced_by_default_is_not_called_dead(town: Town, post: Post) -> None:
    await sent_event(town)
    await post.send("events.errors", "events_errors", {"invalid_filter_values": ["steve_tx_1_0_1500"]})
    assert (await town.row("SELECT status FROM lago_events")).status == "delivered"
    assert await town.notices() == ["lago_event_errors"]


async def test_a_deleted_plan_and_a_new_one_are_mirrored(town: Town, post: Post) -> None:
    await town.mirror.refresh()
    town.lago.catalog.delete_plan("dear")
    charge = {"billable_metric_code": METRIC, "charge_model": "standard"}
    town.lago.catalog.create_plan({"name": "New", "code": "new", "interval": "yearly", "charges": [charge]})
    await post.settle()
    rows = await town.rows("SELECT code, deleted_at IS NOT NULL AS gone FROM lago_plans ORDER BY code")
    assert [tuple(row) for row in rows] == [("dear", True), ("new", False), ("standard", False)]


@pytest.mark.parametrize("kind", ["subscription.terminated", "customer.created", "invoice.voided"])
@pytest.mark.parametrize("content", [{}, {"lago_id": None}, {"external_id": ["odd"], "customer": "odd"}])
async def test_a_webhook_about_nobody_is_no_success(town: Town, post: Post, kind: str, content: dict[str, Any]) -> None:
    await post.send(kind, kind.partition(".")[0], content)
    assert await post.statuses() == ["dead"]
