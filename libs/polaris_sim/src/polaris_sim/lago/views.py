"""The JSON of customers, subscriptions, plans and the like."""

from polaris_sim.lago.config import LagoConfig
from polaris_sim.lago.models import Charge, Customer, Event, Metric, Plan, Subscription, SubscriptionStatus, Wallet
from polaris_sim.lago.periods import local_date
from polaris_sim.lago.webhooks import WebhookEndpoint
from polaris_sim.lago.wire import (
    SECOND,
    JsonObject,
    flag,
    integer,
    iso,
    iso_ms,
    iso_or_none,
    mapping,
    objects,
    text,
    units_text,
)

BILLING_ENTITY = "default"
_CUSTOMER_TEXTS = (
    "name", "firstname", "lastname", "email", "legal_name", "legal_number", "logo_url", "phone", "state", "url",
    "zipcode", "address_line1", "address_line2", "city", "country", "currency", "customer_type",
    "tax_identification_number", "timezone", "net_payment_term",
)  # fmt: skip


def event(item: Event) -> JsonObject:
    """An event; Lago never says which customer or subscription it will count for."""
    return {
        "lago_id": item.lago_id,
        "transaction_id": item.transaction_id,
        "lago_customer_id": None,
        "code": item.code,
        "timestamp": iso_ms(item.timestamp),
        "precise_total_amount_cents": item.precise_total_amount_cents,
        "properties": item.properties,
        "lago_subscription_id": None,
        "external_subscription_id": item.external_subscription_id,
        "created_at": iso(item.created_at),
    }


def customer(item: Customer) -> JsonObject:
    """A customer."""
    fields = item.fields
    shown: JsonObject = {name: fields.get(name) for name in _CUSTOMER_TEXTS}
    return {
        **shown,
        "lago_id": item.lago_id,
        "sequential_id": item.sequential_id,
        "slug": f"LAG-0001-{item.sequential_id:03d}",
        "external_id": item.external_id,
        "billing_entity_code": fields.get("billing_entity_code") or BILLING_ENTITY,
        "applicable_timezone": item.zone.key,
        "account_type": fields.get("account_type") or "customer",
        "finalize_zero_amount_invoice": "inherit",
        "skip_invoice_custom_sections": False,
        "billing_configuration": mapping(fields, "billing_configuration"),
        "shipping_address": mapping(fields, "shipping_address"),
        "metadata": objects(fields, "metadata"),
        "integration_customers": [],
        "created_at": iso(item.created_at),
        "updated_at": iso(item.updated_at),
    }


def metric(item: Metric) -> JsonObject:
    """A billable metric."""
    fields = item.fields
    return {
        "lago_id": item.lago_id,
        "name": item.name,
        "code": item.code,
        "description": fields.get("description"),
        "aggregation_type": item.aggregation,
        "field_name": item.field_name,
        "recurring": flag(fields, "recurring"),
        "rounding_function": fields.get("rounding_function"),
        "rounding_precision": fields.get("rounding_precision"),
        "weighted_interval": fields.get("weighted_interval"),
        "filters": [{"key": key, "values": values} for key, values in item.filters.items()],
        "created_at": iso(item.created_at),
    }


def charge(item: Charge) -> JsonObject:
    """A charge of a plan."""
    fields = item.fields
    return {
        "lago_id": item.lago_id,
        "lago_billable_metric_id": item.metric.lago_id,
        "code": item.code,
        "billable_metric_code": item.metric.code,
        "invoice_display_name": fields.get("invoice_display_name"),
        "charge_model": item.model,
        "pay_in_advance": flag(fields, "pay_in_advance"),
        "invoiceable": True,
        "regroup_paid_fees": None,
        "prorated": flag(fields, "prorated"),
        "min_amount_cents": 0,
        "properties": item.properties,
        "filters": [
            {"invoice_display_name": one.invoice_display_name, "properties": one.properties, "values": one.values}
            for one in item.filters
        ],
        "taxes": [],
        "created_at": iso(item.created_at),
    }


def plan(item: Plan) -> JsonObject:
    """A plan with its charges."""
    fields = item.fields
    return {
        "lago_id": item.lago_id,
        "name": item.name,
        "invoice_display_name": text(fields, "invoice_display_name") or "",
        "code": item.code,
        "interval": item.interval,
        "description": text(fields, "description") or "",
        "amount_cents": item.amount_cents,
        "amount_currency": item.currency,
        "trial_period": integer(fields, "trial_period"),
        "pay_in_advance": item.pay_in_advance,
        "bill_charges_monthly": None,
        "charges": [charge(one) for one in item.charges],
        "taxes": [],
        "created_at": iso(item.created_at),
    }


def subscription(item: Subscription, now: int) -> JsonObject:
    """A subscription as it is at ``now``."""
    window: tuple[str | None, str | None] = (None, None)
    if item.status is SubscriptionStatus.ACTIVE:
        period = item.period(now).clipped(since=item.started_at)
        window = (iso(period.start), iso(period.end - SECOND))
    pending = item.next if item.next is not None and item.next.status is SubscriptionStatus.PENDING else None
    return {
        "lago_id": item.lago_id,
        "external_id": item.external_id,
        "lago_customer_id": item.customer.lago_id,
        "external_customer_id": item.customer.external_id,
        "billing_entity_code": BILLING_ENTITY,
        "billing_time": item.billing_time,
        "name": item.name,
        "plan_code": item.plan.code,
        "plan_amount_cents": item.plan.amount_cents,
        "plan_amount_currency": item.plan.currency,
        "status": item.status,
        "created_at": iso(item.created_at),
        "canceled_at": iso_or_none(item.canceled_at),
        "started_at": None if item.started_at is None else iso_ms(item.started_at),
        "ending_at": iso_or_none(item.ending_at),
        "subscription_at": iso(item.subscription_at),
        "terminated_at": iso_or_none(item.terminated_at),
        "previous_plan_code": item.previous.plan.code if item.previous else None,
        "next_plan_code": item.next.plan.code if item.next else None,
        "downgrade_plan_date": local_date(item.period(now).end, item.customer.zone).isoformat() if pending else None,
        "trial_ended_at": None,
        "current_billing_period_started_at": window[0],
        "current_billing_period_ending_at": window[1],
        "on_termination_credit_note": item.on_termination_credit_note,
        "on_termination_invoice": item.on_termination_invoice,
    }


def wallet(item: Wallet) -> JsonObject:
    """A wallet; the ongoing balance is premium and equals the balance here."""
    credits_balance = units_text(item.credits_balance)
    balance_cents = int(item.credits_balance * item.rate_amount * 100)
    return {
        "lago_id": item.lago_id,
        "lago_customer_id": item.customer.lago_id,
        "external_customer_id": item.customer.external_id,
        "status": "active",
        "currency": item.currency,
        "name": item.name,
        "rate_amount": units_text(item.rate_amount),
        "credits_balance": credits_balance,
        "balance_cents": balance_cents,
        "consumed_credits": "0.0",
        "ongoing_balance_cents": balance_cents,
        "ongoing_usage_balance_cents": 0,
        "credits_ongoing_balance": credits_balance,
        "credits_ongoing_usage_balance": "0.0",
        "invoice_requires_successful_payment": False,
        "recurring_transaction_rules": [],
        "expiration_at": item.expiration_at,
        "terminated_at": None,
        "created_at": iso(item.created_at),
    }


def webhook_endpoint(item: WebhookEndpoint, organization_id: str) -> JsonObject:
    """A webhook endpoint; the hmac key is never shown."""
    return {
        "lago_id": item.lago_id,
        "lago_organization_id": organization_id,
        "webhook_url": item.url,
        "signature_algo": item.signature_algo,
        "name": item.name,
        "event_types": item.event_types,
        "created_at": iso(item.created_at),
    }


def organization(lago_id: str, created_at: int, config: LagoConfig, urls: list[str]) -> JsonObject:
    """The organization, with the store its events are in."""
    return {
        "lago_id": lago_id,
        "name": "Simulated organization",
        "created_at": iso(created_at),
        "webhook_url": urls[0] if urls else None,
        "webhook_urls": urls,
        "default_currency": config.currency,
        "timezone": config.timezone,
        "document_numbering": "per_customer",
        "document_number_prefix": "LAG-0001",
        "net_payment_term": 0,
        "billing_configuration": {"invoice_grace_period": config.invoice_grace_period, "document_locale": "en"},
        "taxes": [],
        "finalize_zero_amount_invoice": True,
        "events_store": config.store,
    }
