"""Routes of events, invoices and fees."""

from polaris_sim.lago import money_views, views
from polaris_sim.lago.config import EventStore
from polaris_sim.lago.errors import Invalid, NotFound
from polaris_sim.lago.listing import Call, listed
from polaris_sim.lago.models import Event, Fee, Invoice, InvoiceStatus, PaymentStatus, SubscriptionStatus
from polaris_sim.lago.wire import JsonObject

_INVOICE_TYPES = ["subscription", "add_on", "credit", "one_off", "progressive_billing"]


def create_event(call: Call) -> JsonObject:
    """``POST /events``"""
    return {"event": views.event(call.simulator.record_event(call.body.get("event")))}


def create_events(call: Call) -> JsonObject:
    """``POST /events/batch``"""
    return {"events": [views.event(one) for one in call.simulator.record_events(call.body.get("events"))]}


def list_events(call: Call) -> JsonObject:
    """``GET /events``; ClickHouse shows the raw events, duplicates included, newest arrival first."""
    log = call.simulator.organization.events
    external_id, code = call.one("external_subscription_id"), call.one("code")
    since, until = call.time("timestamp_from"), call.time("timestamp_to")
    if call.one("timestamp_from_started_at") == "true":
        since = _started_at(call, external_id)
    events = log.raw if external_id is None else log.raw_of(external_id)
    found = [
        event
        for event in events
        if code in (None, event.code)
        and (since is None or event.timestamp >= since)
        and (until is None or event.timestamp <= until)
    ]
    if call.simulator.config.store is EventStore.CLICKHOUSE:
        found.reverse()
    else:
        found.sort(key=lambda event: (-event.timestamp, event.transaction_id))
    return listed(call, "events", found, views.event)


def _started_at(call: Call, external_id: str | None) -> int | None:
    if external_id is None:
        raise Invalid({"external_subscription_id": ["value_is_mandatory"]})
    return call.simulator.organization.subscription(external_id, SubscriptionStatus.ACTIVE).started_at


def get_event(call: Call) -> JsonObject:
    """``GET /events/{transaction_id}``"""
    event: Event | None = call.simulator.organization.events.with_transaction_id(call.params["transaction_id"])
    if event is None:
        raise NotFound("event")
    return {"event": views.event(event)}


def list_invoices(call: Call) -> JsonObject:
    """``GET /invoices``, newest first, without fees; there is no subscription filter."""
    found = _wanted_invoices(call)
    found.sort(key=lambda one: (one.issuing_date, one.created_at, one.lago_id), reverse=True)
    base_url, now = call.simulator.config.base_url, call.simulator.organization.now()
    return listed(call, "invoices", found, lambda one: money_views.invoice(one, base_url, now, extended=False))


def _wanted_invoices(call: Call) -> list[Invoice]:
    statuses = call.choices(list(InvoiceStatus), "statuses", "status")
    payment_statuses = call.choices(list(PaymentStatus), "payment_statuses", "payment_status")
    kinds = call.choices(_INVOICE_TYPES, "invoice_type")
    customer, currency = call.one("external_customer_id"), call.one("currency")
    overdue = call.one("payment_overdue")
    first, last = call.one("issuing_date_from"), call.one("issuing_date_to")
    least, most = call.one("amount_from"), call.one("amount_to")
    return [
        one
        for one in call.simulator.organization.invoices.values()
        if (not statuses or one.status in statuses)
        and (not payment_statuses or one.payment_status in payment_statuses)
        and (not kinds or "subscription" in kinds)
        and customer in (None, one.customer.external_id)
        and currency in (None, one.currency)
        and (overdue is None or one.payment_overdue is (overdue == "true"))
        and (first is None or one.issuing_date >= first)
        and (last is None or one.issuing_date <= last)
        and (least is None or one.fees_amount_cents >= int(least))
        and (most is None or one.fees_amount_cents <= int(most))
    ]


def get_invoice(call: Call) -> JsonObject:
    """``GET /invoices/{lago_id}``"""
    return _invoice(call, call.simulator.invoices.get(call.params["lago_id"]))


def update_invoice(call: Call) -> JsonObject:
    """``PUT /invoices/{lago_id}``"""
    return _invoice(call, call.simulator.invoices.update(call.params["lago_id"], call.root("invoice")))


def refresh_invoice(call: Call) -> JsonObject:
    """``PUT /invoices/{lago_id}/refresh``"""
    return _invoice(call, call.simulator.invoices.refresh(call.params["lago_id"]))


def finalize_invoice(call: Call) -> JsonObject:
    """``PUT /invoices/{lago_id}/finalize``"""
    return _invoice(call, call.simulator.invoices.finalize(call.params["lago_id"]))


def void_invoice(call: Call) -> JsonObject:
    """``POST /invoices/{lago_id}/void``"""
    return _invoice(call, call.simulator.invoices.void(call.params["lago_id"], call.body))


def retry_payment(call: Call) -> None:
    """``POST /invoices/{lago_id}/retry_payment``; the answer has no body (fact 18)."""
    call.simulator.invoices.retry_payment(call.params["lago_id"])


def download_invoice(call: Call) -> JsonObject | None:
    """``POST /invoices/{lago_id}/download``; no body while the PDF is being made (fact 18)."""
    invoice = call.simulator.invoices.download(call.params["lago_id"])
    return None if invoice is None else _invoice(call, invoice)


def _invoice(call: Call, invoice: Invoice) -> JsonObject:
    now = call.simulator.organization.now()
    return {"invoice": money_views.invoice(invoice, call.simulator.config.base_url, now, extended=True)}


def list_fees(call: Call) -> JsonObject:
    """``GET /fees``, oldest first."""
    customer, external_id = call.one("external_customer_id"), call.one("external_subscription_id")
    code, kind = call.one("billable_metric_code"), call.one("fee_type")
    since, until = call.time("created_at_from"), call.time("created_at_to")
    found: list[tuple[Fee, Invoice]] = []
    if call.one("event_transaction_id") is None:  # only pay-in-advance fees have one
        found = [
            (fee, invoice)
            for invoice in call.simulator.organization.invoices.values()
            if customer in (None, invoice.customer.external_id)
            and external_id in (None, invoice.subscription.external_id)
            for fee in invoice.fees
            if (since is None or fee.created_at >= since)
            and (until is None or fee.created_at <= until)
            and (code is None or (fee.charge is not None and fee.charge.metric.code == code))
            and kind in (None, "charge" if fee.charge else "subscription")
        ]
    found.sort(key=lambda pair: (pair[0].created_at, pair[0].lago_id))
    return listed(call, "fees", found, lambda pair: money_views.fee(*pair))


def get_fee(call: Call) -> JsonObject:
    """``GET /fees/{lago_id}``"""
    for invoice in call.simulator.organization.invoices.values():
        for fee in invoice.fees:
            if fee.lago_id == call.params["lago_id"]:
                return {"fee": money_views.fee(fee, invoice)}
    raise NotFound("fee")
