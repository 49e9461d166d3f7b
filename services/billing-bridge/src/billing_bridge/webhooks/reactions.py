"""What follows from a webhook (domain.md §3.6), decided from the mirror as it is now.

Types that are not named here are kept in the inbox for audit and have no consequence. No mail is sent to anybody.
"""

from billing_bridge.mirror.cards import cards_of, stop_sessions, switch_cards
from billing_bridge.provisioning.repository import AccountRepository
from billing_bridge.webhooks.addresses import follow_address
from billing_bridge.webhooks.event_errors import bury_events
from billing_bridge.webhooks.repository import Claimed
from billing_bridge.webhooks.usage import stop_where_enforced, tell_limit
from polaris_common.db import UnitOfWork
from polaris_common.events.catalogue import Audience, InvoiceUpdated, OperatorNotice
from polaris_common.lago import wire
from polaris_common.lago.inbox import inner
from polaris_common.models import LagoInvoice, LagoWallet

_INVOICE_NOTICES = {
    "invoice.created": "lago_invoice_created",
    "invoice.drafted": "lago_invoice_drafted",
    "invoice.generated": "lago_invoice_generated",
}
_STARTED = frozenset({"subscription.started", "subscription.created"})
_TERMINATED = frozenset({"subscription.terminated", "subscription.terminated_and_downgraded"})


class WebhookUnusable(Exception):
    """The webhook lacks what its type needs; no retry helps, and it is not passed off as processed."""


async def react(uow: UnitOfWork, event: Claimed) -> None:
    """Do what the webhook asks for, in its one unit of work.

    Raises:
        WebhookUnusable: it does not say whom or what it is about.
    """
    match event.webhook_type:
        case "customer.created" | "customer.updated":
            await follow_address(uow, _needed(event.external_customer_id, "external_customer_id"))
        case "subscription.usage_threshold_reached":
            subscription = _needed(event.external_subscription_id, "external_subscription_id")
            await tell_limit(uow, event)
            await stop_where_enforced(uow, event, subscription)
        case kind if kind.startswith("subscription."):
            await _subscription(uow, event)
        case "wallet.depleted_ongoing_balance":
            await _wallet_depleted(uow, event)
        case "wallet_transaction.payment_failure":
            _notice(uow, event, "lago_wallet_transaction_payment_failure", severity="warn", source="wallet_transaction")
        case "alert.triggered":
            _notice(uow, event, "lago_alert_triggered", severity="warn", source="alert")
            await tell_limit(uow, event)
        case "events.errors":
            await bury_events(uow, inner(event.payload))
        case "event.error":
            _notice(uow, event, "lago_event_error", severity="warn", source="event")
        case kind if kind.startswith("invoice."):
            await _invoice(uow, event)


async def _subscription(uow: UnitOfWork, event: Claimed) -> None:
    subscription = _needed(event.external_subscription_id, "external_subscription_id")
    changed = await switch_cards(uow, customer=_needed(event.external_customer_id, "external_customer_id"))
    if event.webhook_type in _STARTED:
        _notice(uow, event, "lago_subscription_started", severity="info", source="subscription", source_id=subscription)
    elif event.webhook_type in _TERMINATED:
        severity = "warn" if changed else "info"
        _notice(
            uow, event, "lago_subscription_terminated", severity=severity, source="subscription", source_id=subscription
        )


async def _wallet_depleted(uow: UnitOfWork, event: Claimed) -> None:
    """Stop the customer's sessions, unless the wallet has been filled again since."""
    wallet = await uow.session.get(LagoWallet, event.lago_object_id) if event.lago_object_id else None
    balance = wire.whole(wallet.payload, "ongoing_balance_cents") if wallet is not None else None
    if balance is not None and balance > 0:
        return
    customer = event.external_customer_id or (wallet.external_customer_id if wallet else None)
    cards = await cards_of(uow, customer=_needed(customer, "external_customer_id"))
    await stop_sessions(uow, cards, reason="wallet_depleted")


async def _invoice(uow: UnitOfWork, event: Claimed) -> None:
    lago_id = _needed(event.lago_object_id, "lago_id")
    invoice = await uow.session.get(LagoInvoice, lago_id)
    customer = invoice.external_customer_id if invoice else event.external_customer_id
    driver = await AccountRepository(uow).paid_by(customer) if customer else None
    uow.emit(
        InvoiceUpdated(
            audience=Audience.operators_and(driver),
            invoice_id=lago_id,
            status=("deleted" if invoice.deleted_at else invoice.status) if invoice else None,
            payment_status=invoice.payment_status if invoice else None,
            payment_overdue=invoice.payment_overdue if invoice else None,
            webhook_type=event.webhook_type,
        )
    )
    if kind := _INVOICE_NOTICES.get(event.webhook_type):
        _notice(uow, event, kind, severity="info", source="invoice", source_id=lago_id)
    elif event.webhook_type == "invoice.payment_status_updated" and invoice and invoice.payment_status == "failed":
        _notice(uow, event, "lago_invoice_payment_failed", severity="warn", source="invoice", source_id=lago_id)


def _needed(value: str | None, name: str) -> str:
    if value is None:
        raise WebhookUnusable(f"no {name}")
    return value


def _notice(
    uow: UnitOfWork, event: Claimed, kind: str, *, severity: str, source: str, source_id: str | None = None
) -> None:
    uow.emit(
        OperatorNotice(
            kind=kind,
            severity=severity,
            source_type=source,
            source_id=source_id or event.lago_object_id,
            external_customer_id=event.external_customer_id,
        )
    )
