"""The JSON of usage, fees and invoices."""

from collections.abc import Callable, Sequence
from decimal import Decimal

from polaris_sim.lago import views
from polaris_sim.lago.models import Charge, Customer, Fee, Invoice, InvoiceStatus, Subscription
from polaris_sim.lago.periods import Period, local_date
from polaris_sim.lago.pricing import minor_units
from polaris_sim.lago.wire import SECOND, JsonObject, iso, plain, units_text


def usage(subscription: Subscription, period: Period, fees: Sequence[Fee], invoice: Invoice | None) -> JsonObject:
    """Usage of one period, per charge."""
    plan = subscription.plan
    amount = sum(fee.amount_cents for fee in fees)
    of_charge: dict[str, list[Fee]] = {charge.lago_id: [] for charge in plan.charges}
    for fee in fees:
        if fee.charge is not None:
            of_charge.setdefault(fee.charge.lago_id, []).append(fee)
    charges = {charge.lago_id: charge for charge in plan.charges}
    charges.update({fee.charge.lago_id: fee.charge for fee in fees if fee.charge is not None})
    return {
        "from_datetime": iso(period.start),
        "to_datetime": iso(max(period.start, period.end - SECOND)),
        "issuing_date": local_date(period.end, subscription.customer.zone).isoformat(),
        "lago_invoice_id": invoice.lago_id if invoice else None,
        "currency": plan.currency,
        "amount_cents": amount,
        "taxes_amount_cents": 0,
        "total_amount_cents": amount,
        "charges_usage": [_charge_usage(charges[key], plan.currency, group) for key, group in of_charge.items()],
    }


def _charge_usage(charge: Charge, currency: str, fees: Sequence[Fee]) -> JsonObject:
    grouped = [fee for fee in fees if fee.grouped_by]
    return {
        **_sums(fees),
        "amount_currency": currency,
        "charge": {
            "lago_id": charge.lago_id,
            "code": charge.code,
            "charge_model": charge.model,
            "invoice_display_name": charge.fields.get("invoice_display_name"),
        },
        "billable_metric": {
            "lago_id": charge.metric.lago_id,
            "name": charge.metric.name,
            "code": charge.metric.code,
            "aggregation_type": charge.metric.aggregation,
        },
        "filters": _filters(fees) if charge.filters else [],
        "grouped_usage": _by(grouped, lambda fee: tuple(fee.grouped_by.items()), charge),
        "presentation_breakdowns": [],
    }


def _by(fees: Sequence[Fee], key: Callable[[Fee], object], charge: Charge) -> list[JsonObject]:
    groups: dict[object, list[Fee]] = {}
    for fee in fees:
        groups.setdefault(key(fee), []).append(fee)
    return [
        {**_sums(group), "grouped_by": group[0].grouped_by, "filters": _filters(group) if charge.filters else []}
        for group in groups.values()
    ]


def _filters(fees: Sequence[Fee]) -> list[JsonObject]:
    groups: dict[str | None, list[Fee]] = {}
    for fee in fees:
        groups.setdefault(fee.filter.lago_id if fee.filter else None, []).append(fee)
    shown: list[JsonObject] = []
    for group in groups.values():
        matched = group[0].filter
        item: JsonObject = {**_sums(group), "values": matched.values if matched else {}}
        if matched is not None and matched.invoice_display_name is not None:
            item["invoice_display_name"] = matched.invoice_display_name
        shown.append(item)
    return shown


def _sums(fees: Sequence[Fee]) -> JsonObject:
    units = units_text(sum((fee.units for fee in fees), Decimal(0)))
    return {
        "units": units,
        "total_aggregated_units": units,
        "events_count": sum(fee.events_count for fee in fees),
        "amount_cents": sum(fee.amount_cents for fee in fees),
    }


def fee(item: Fee, bill: Invoice) -> JsonObject:
    """A fee of an invoice."""
    subscription = item.subscription
    cents = item.amount_cents
    exact = plain(item.precise_amount)
    unit_amount = plain(item.precise_amount / item.units) if item.units else "0"
    return {
        "lago_id": item.lago_id,
        "lago_charge_id": item.charge.lago_id if item.charge else None,
        "lago_charge_filter_id": item.filter.lago_id if item.filter else None,
        "lago_invoice_id": bill.lago_id,
        "lago_subscription_id": subscription.lago_id,
        "lago_customer_id": subscription.customer.lago_id,
        "external_customer_id": subscription.customer.external_id,
        "external_subscription_id": subscription.external_id,
        "amount_cents": cents,
        "precise_amount": exact,
        "precise_total_amount": exact,
        "amount_currency": bill.currency,
        "taxes_amount_cents": 0,
        "taxes_precise_amount": "0.0",
        "taxes_rate": 0,
        "units": units_text(item.units),
        "precise_unit_amount": unit_amount,
        "total_aggregated_units": units_text(item.units),
        "total_amount_cents": cents,
        "total_amount_currency": bill.currency,
        "events_count": item.events_count,
        "pay_in_advance": False,
        "invoiceable": True,
        "from_date": iso(item.period.start),
        "to_date": iso(max(item.period.start, item.period.end - SECOND)),
        "payment_status": bill.payment_status,
        "created_at": iso(item.created_at),
        "event_transaction_id": None,
        "sub_total_excluding_taxes_amount_cents": cents,
        "sub_total_excluding_taxes_precise_amount_cents": plain(item.precise_amount * minor_units(bill.currency)),
        "item": _fee_item(item),
        "applied_taxes": [],
    }


def _fee_item(item: Fee) -> JsonObject:
    plan = item.subscription.plan
    if item.charge is None:
        kind, code, name, lago_id, what = (
            "subscription",
            plan.code,
            plan.name,
            item.subscription.lago_id,
            "Subscription",
        )
    else:
        metric = item.charge.metric
        kind, code, name, lago_id, what = "charge", metric.code, metric.name, metric.lago_id, "BillableMetric"
    return {
        "type": kind,
        "code": code,
        "name": name,
        "invoice_display_name": name,
        "filter_invoice_display_name": item.filter.invoice_display_name if item.filter else None,
        "filters": item.filter.values if item.filter else None,
        "lago_item_id": lago_id,
        "item_type": what,
        "grouped_by": item.grouped_by,
    }


def invoice(item: Invoice, base_url: str, now: int, *, extended: bool) -> JsonObject:
    """An invoice; lists show it without fees and subscriptions (``extended`` False)."""
    amount = item.fees_amount_cents
    shown: JsonObject = {
        "lago_id": item.lago_id,
        "billing_entity_code": views.BILLING_ENTITY,
        "sequential_id": item.sequential_id,
        "number": item.number,
        "issuing_date": item.issuing_date,
        "payment_due_date": item.issuing_date,
        "payment_overdue": item.payment_overdue,
        "net_payment_term": 0,
        "invoice_type": "subscription",
        "status": item.status,
        "payment_status": item.payment_status,
        "currency": item.currency,
        "fees_amount_cents": amount,
        "coupons_amount_cents": 0,
        "credit_notes_amount_cents": 0,
        "sub_total_excluding_taxes_amount_cents": amount,
        "taxes_amount_cents": 0,
        "sub_total_including_taxes_amount_cents": amount,
        "prepaid_credit_amount_cents": 0,
        "progressive_billing_credit_amount_cents": 0,
        "total_amount_cents": amount,
        "version_number": 4,
        "created_at": iso(item.created_at),
        "updated_at": iso(item.updated_at),
        "customer": views.customer(item.customer),
        "metadata": item.metadata,
        "applied_taxes": [],
    }
    if item.file_ready and item.status is InvoiceStatus.FINALIZED:
        shown["file_url"] = f"{base_url}/rails/active_storage/blobs/redirect/{item.lago_id}/{item.number}.pdf"
    if extended:
        shown["fees"] = [fee(one, item) for one in item.fees]
        shown["subscriptions"] = [views.subscription(item.subscription, now)]
        shown["billing_periods"] = [_billing_period(item)]
        shown["credits"] = shown["error_details"] = []
    return shown


def _billing_period(item: Invoice) -> JsonObject:
    start, end = iso(item.period.start), iso(max(item.period.start, item.period.end - SECOND))
    return {
        "lago_subscription_id": item.subscription.lago_id,
        "external_subscription_id": item.subscription.external_id,
        "lago_plan_id": item.subscription.plan.lago_id,
        "subscription_from_datetime": start,
        "subscription_to_datetime": end,
        "charges_from_datetime": start,
        "charges_to_datetime": end,
        "invoicing_reason": item.reason,
    }


def payment_failure(item: Invoice) -> JsonObject:
    """What ``invoice.payment_failure`` carries when no payment provider is configured."""
    payer: Customer = item.customer
    return {
        "lago_invoice_id": item.lago_id,
        "lago_customer_id": payer.lago_id,
        "external_customer_id": payer.external_id,
        "provider_customer_id": None,
        "payment_provider": None,
        "provider_error": {"message": "no payment provider", "error_code": "missing_payment_provider"},
    }
