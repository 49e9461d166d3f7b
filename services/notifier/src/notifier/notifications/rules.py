"""Every kind of notification: which event it comes from, who reads it, what it says, where it leads, who gets a mail.

This table is the one place that decides it. An event without a rule tells nobody anything; a notice to operators
without one is told as it is.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from notifier.notifications.rule import MailKind, Once, Payload, Rule, notice
from polaris_common.domain.session_state import ZOMBIES
from polaris_common.events.catalogue import (
    AccountViewed,
    BillingResumed,
    BillingStopped,
    BooksDiffer,
    CardReportedLost,
    CardsSwitched,
    ComponentDown,
    ComponentRecovered,
    CustomerAccountBlocked,
    CustomerAccountProvisioned,
    DeviceRegistered,
    InvoiceUpdated,
    LateEnergy,
    OperatorNotice,
    QrSignInSuspicious,
    ReservationCancelled,
    ReservationChanged,
    SessionQuarantined,
    SessionStopped,
    SessionStopWanted,
    SignedInByCard,
    UsageLimitReached,
)
from polaris_common.models import ReservationStatus, Role
from polaris_common.notifications.topics import Severity, SourceType, Topic

ADMIN, CUSTOMER = Role.ADMIN, Role.CUSTOMER
INFO, SUCCESS, WARN, ERROR = Severity.INFO, Severity.SUCCESS, Severity.WARN, Severity.ERROR
ALERT = MailKind.OPERATOR_ALERT


def _is_zombie(payload: Payload) -> bool:
    return payload["reason"] in ZOMBIES


_NEW_INVOICE = frozenset({"invoice.created", "invoice.one_off_created", "invoice.generated"})
"""What Lago says when an invoice is new; whatever else it says about one may be about an old one."""


def _outage(component: str, label: str, *, away: str, back: str) -> tuple[Rule, Rule]:
    """Something that we depend on is gone, and is there again."""

    def is_it(payload: Payload) -> bool:
        return bool(payload["component"] == component)

    rule = partial(
        Rule, reader=ADMIN, topic=Topic.SYSTEM, when=is_it, source=SourceType.SYSTEM, source_id="component", mail=ALERT
    )
    down = "{{ error | words | capitalize }}. " + away
    return (
        rule(f"{component}_down", ComponentDown, severity=ERROR, title=f"{label} is away", body=down),
        rule(f"{component}_recovered", ComponentRecovered, severity=SUCCESS, title=f"{label} is back", body=back),
    )


DRIVERS = (
    Rule(
        "session.complete", SessionStopped, CUSTOMER, Topic.CHARGING, SUCCESS,
        "Charging finished", "{{ energyKwh }} kWh at {{ chargeBoxId }}.",
        when=lambda payload: payload["final"],
        source=SourceType.SYSTEM, source_id="transactionId", link_source=SourceType.SESSION, link_id="sessionId",
        once=Once.EVER, mail=MailKind.SESSION_SUMMARY,
    ),
    Rule(
        "session.stopping", SessionStopWanted, CUSTOMER, Topic.CHARGING, WARN,
        "Your charging is being stopped", "At {{ chargeBoxId }}: {{ reason | words }}.",
        source=SourceType.SYSTEM, source_id="transactionId", link_source=SourceType.SESSION, link_id="sessionId",
        once=Once.A_DAY,
    ),
    Rule(
        "reservation.cancelled", ReservationCancelled, CUSTOMER, Topic.RESERVATIONS, INFO,
        "Reservation cancelled",
        "Your reservation at {{ chargeBoxId }} does not hold any more{% if reason %}: {{ reason | words }}{% endif %}.",
        source=SourceType.RESERVATION, source_id="reservationId",
        once=Once.EVER, mail=MailKind.RESERVATION_CANCELLED,
    ),
    Rule(
        "reservation.refused", ReservationChanged, CUSTOMER, Topic.RESERVATIONS, WARN,
        "Reservation refused", "The charger {{ chargeBoxId }} does not take your reservation.",
        when=lambda payload: payload["status"] == ReservationStatus.CONFLICTED,
        source=SourceType.RESERVATION, source_id="reservationId", once=Once.A_DAY,
    ),
    Rule(
        "invoice.available", InvoiceUpdated, CUSTOMER, Topic.INVOICES, INFO,
        "A new invoice", "Your invoice is ready.",
        when=lambda payload: payload.get("status") == "finalized" and payload.get("webhookType") in _NEW_INVOICE,
        source=SourceType.INVOICE, source_id="invoiceId", once=Once.EVER, mail=MailKind.INVOICE_AVAILABLE,
    ),
    Rule(
        "invoice.payment_failed", InvoiceUpdated, CUSTOMER, Topic.INVOICES, WARN,
        "A payment failed", "Your invoice could not be paid.",
        when=lambda payload: payload.get("paymentStatus") == "failed",
        source=SourceType.INVOICE, source_id="invoiceId", once=Once.A_DAY,
    ),
    Rule(
        "usage.limit_reached", UsageLimitReached, CUSTOMER, Topic.INVOICES, WARN,
        "A limit of usage is reached", "What you have charged in this billing period has reached a limit.",
        source=SourceType.SYSTEM, source_id="subscription", once=Once.A_DAY, subject="limit",
    ),
    Rule(
        "cards.switched_off", CardsSwitched, CUSTOMER, Topic.CARDS, WARN,
        "Cards switched off", "{{ userMappingIds | length }} of your cards do not charge: {{ reason | words }}.",
        when=lambda payload: not payload["active"], source=SourceType.SYSTEM, mail=MailKind.ACCOUNT_INACTIVE,
    ),
    Rule(
        "cards.switched_on", CardsSwitched, CUSTOMER, Topic.CARDS, SUCCESS,
        "Cards switched on", "{{ userMappingIds | length }} of your cards charge again.",
        when=lambda payload: payload["active"], source=SourceType.SYSTEM, mail=MailKind.ACCOUNT_REACTIVATED,
    ),
    Rule(
        "device.registered", DeviceRegistered, CUSTOMER, Topic.SECURITY, INFO,
        "New device", "{{ label }} is signed in to your account. If that was not you, remove it.",
        source=SourceType.SYSTEM, source_id="deviceId",
    ),
    Rule(
        "sign_in.by_card", SignedInByCard, CUSTOMER, Topic.SECURITY, INFO,
        "Signed in with a card", "Somebody held your card to {{ pairableId }} and is signed in to your account.",
        source=SourceType.SYSTEM,
    ),
    Rule(
        "account.viewed", AccountViewed, CUSTOMER, Topic.SECURITY, INFO,
        "An operator viewed your account", "They can look at it and change nothing.",
        source=SourceType.SYSTEM, once=Once.A_DAY,
    ),
)  # fmt: skip
"""What drivers are told, each what concerns them. Nothing of this table reaches another driver, nor operators."""

OPERATORS = (
    Rule(
        "session.zombie", SessionQuarantined, ADMIN, Topic.SESSIONS, WARN,
        "A session does not end", "At {{ chargeBoxId }}: {{ reason | words }}. It waits for a person.",
        when=_is_zombie, source=SourceType.SESSION, source_id="transactionId", once=Once.A_DAY, mail=ALERT,
    ),
    Rule(
        "session.quarantined", SessionQuarantined, ADMIN, Topic.SESSIONS, WARN,
        "A session is not believable", "At {{ chargeBoxId }}: {{ reason | words }}. It is not billed until a person "
        "has looked at it.",
        when=lambda payload: not _is_zombie(payload),
        source=SourceType.SESSION, source_id="transactionId", once=Once.A_DAY, mail=ALERT,
    ),
    notice("auto_stop", Topic.SESSIONS, "A session is being stopped", "{{ detail | words }}."),
    notice(
        "auto_stop_failed", Topic.SESSIONS, "A session goes on",
        "It was to be stopped: {{ detail | words }}.", mail=ALERT,
    ),
    notice("reservation_not_held", Topic.BOOKINGS, "A reservation is not held", "{{ detail | words }}."),
    Rule(
        "card.lost", CardReportedLost, ADMIN, Topic.FLEET_CARDS, WARN,
        "Card reported lost", "It no longer charges{% if reason %}: {{ reason }}{% endif %}.",
        source=SourceType.MAPPING, source_id="cardId", once=Once.A_DAY, mail=MailKind.CARD_LOST,
    ),
    notice(
        "steve_sync_failed", Topic.FLEET_CARDS, "SteVe has not taken a change",
        "Of {{ detail }} cards; what got no answer is tried again.",
    ),
    notice(
        "tag_blocks_need_consent", Topic.FLEET_CARDS, "Many cards would be blocked",
        "{{ detail }} cards would be blocked at once; that needs your consent.", mail=ALERT,
    ),
    notice(
        "ledger_restored", Topic.BILLING_TROUBLE, "The database was restored",
        "What Lago had and the backup had not is in the ledger again ({{ detail }}).", mail=ALERT,
    ),
    notice(
        "steve_ids_used_again", Topic.SESSIONS, "SteVe uses transaction ids again",
        "Its database was replaced, or is an older one ({{ detail }}). Sessions that had the ids before keep their "
        "history; those that were open then wait for a person.", mail=ALERT,
    ),
    Rule(
        "books_differ", BooksDiffer, ADMIN, Topic.BILLING_TROUBLE, WARN,
        "The books differ", "{{ kind | words | capitalize }}: {{ differenceKwh }} kWh ({{ subject }}).",
        source=SourceType.SYSTEM, source_id="subject", once=Once.A_DAY, mail=ALERT,
    ),
    notice(
        "lago_events_delayed", Topic.BILLING_TROUBLE, "Energy waits for Lago",
        "The oldest unsent event is too old ({{ detail }}).", mail=ALERT,
    ),
    notice(
        "lago_events_recovered", Topic.BILLING_TROUBLE, "Energy goes to Lago again",
        "What waited is sent.", mail=ALERT,
    ),
    notice(
        "lago_period_closed_unsent", Topic.BILLING_TROUBLE, "A billing period closed without all its energy",
        "Subscription {{ sourceId }} ({{ detail }}).", mail=ALERT,
    ),
    notice(
        "lago_event_quarantined", Topic.BILLING_TROUBLE, "Lago refused energy",
        "{{ sourceId }} ({{ detail }}) waits for a person.", mail=ALERT,
    ),
    notice("lago_event_errors", Topic.BILLING_TROUBLE, "Lago will not count events", "{{ detail }}.", mail=ALERT),
    notice("lago_event_error", Topic.BILLING_TROUBLE, "Lago reports a faulty event", "{{ sourceId }}."),
    notice(
        "lago_plan_without_charge", Topic.BILLING_TROUBLE, "A plan does not charge for energy",
        "Plan {{ sourceId }} has no charge for our metric.", once=Once.A_DAY,
    ),
    Rule(
        "billing.stopped", BillingStopped, ADMIN, Topic.BILLING_TROUBLE, ERROR,
        "Billing has stopped", "Nothing is sent to Lago: {{ reason | words }} ({{ metricCode }}).",
        source=SourceType.SYSTEM, source_id="metricCode", mail=ALERT,
    ),
    Rule(
        "billing.resumed", BillingResumed, ADMIN, Topic.BILLING_TROUBLE, SUCCESS,
        "Billing goes on", "The metric {{ metricCode }} is right again; what waited is sent.",
        source=SourceType.SYSTEM, source_id="metricCode", mail=ALERT,
    ),
    Rule(
        "billing.late_energy", LateEnergy, ADMIN, Topic.BILLING_NOTES, INFO,
        "Late energy", "{{ lateWh }} Wh from {{ chargeBoxId }} came after their billing period; they go on the next "
        "invoice.",
        source=SourceType.SESSION, source_id="transactionId",
    ),
    notice("lago_alert_triggered", Topic.BILLING_NOTES, "Lago raised an alert", "{{ externalCustomerId }}"),
    notice(
        "lago_invoice_created", Topic.BILLING_NOTES, "Invoice created", "{{ externalCustomerId }}", once=Once.EVER
    ),
    notice(
        "lago_invoice_drafted", Topic.BILLING_NOTES, "Invoice drafted", "{{ externalCustomerId }}", once=Once.EVER
    ),
    notice(
        "lago_invoice_generated", Topic.BILLING_NOTES, "Invoice generated", "{{ externalCustomerId }}", once=Once.EVER
    ),
    notice(
        "lago_invoice_payment_failed", Topic.BILLING_NOTES, "A payment failed", "{{ externalCustomerId }}",
        once=Once.A_DAY,
    ),
    notice(
        "lago_wallet_transaction_payment_failure", Topic.BILLING_NOTES, "A wallet could not be filled",
        "{{ externalCustomerId }}", once=Once.A_DAY,
    ),
    notice(
        "lago_subscription_started", Topic.BILLING_NOTES, "Subscription started", "{{ sourceId }}", once=Once.A_DAY
    ),
    notice(
        "lago_subscription_terminated", Topic.BILLING_NOTES, "Subscription ended", "{{ sourceId }}", once=Once.A_DAY
    ),
    notice(
        "lago_email_backfilled", Topic.BILLING_NOTES, "An address was taken over from Lago", "{{ sourceId }}",
        once=Once.A_DAY,
    ),
    notice(
        "lago_email_drift", Topic.BILLING_NOTES, "An address is not the one in Lago",
        "{{ sourceId }}: {{ detail | words }}.", once=Once.A_DAY,
    ),
    notice(
        "lago_webhook_dispatch_disabled", Topic.SYSTEM, "Lago's webhooks are in trouble",
        "They are kept and tried again ({{ detail }}).", mail=ALERT,
    ),
    notice(
        "mail_given_up", Topic.SYSTEM, "Mails are not delivered",
        "A mail ({{ sourceId }}) was given up: {{ detail }}. polaris mail dead lists all such mails.", once=Once.A_DAY,
    ),
    notice("lago_webhook_recovered", Topic.SYSTEM, "Lago's webhooks are processed again", "Nothing waits.", mail=ALERT),
    *_outage("steve", "SteVe", away="Nothing is lost; it is looked for.", back="What happened is caught up."),
    *_outage("lago", "Lago", away="Energy is kept and sent later.", back="What waited is sent."),
    Rule(
        "customer.account_provisioned", CustomerAccountProvisioned, ADMIN, Topic.BILLING_NOTES, INFO,
        "New driver", "Customer {{ externalCustomerId }} has an account.",
        source=SourceType.SUBSCRIPTION, source_id="externalCustomerId", once=Once.EVER,
    ),
    Rule(
        "customer.account_blocked", CustomerAccountBlocked, ADMIN, Topic.ACCESS, WARN,
        "No account for a customer", "The address of customer {{ externalCustomerId }} belongs to an operator.",
        source=SourceType.SUBSCRIPTION, source_id="externalCustomerId", once=Once.A_DAY,
    ),
    Rule(
        "sign_in.qr_guessing", QrSignInSuspicious, ADMIN, Topic.ACCESS, WARN,
        "Somebody guesses card numbers", "{{ failures }} wrong ones; signing in with them rests for {{ minutes }} "
        "minutes.",
        source=SourceType.SYSTEM, mail=ALERT,
    ),
)  # fmt: skip
"""What operators are told, all of them."""

RULES = (*DRIVERS, *OPERATORS)

_OTHER_NOTICE = Rule(
    "operator.notice", OperatorNotice, ADMIN, Topic.SYSTEM, None,
    "{{ kind }}", "{{ sourceType }} {{ sourceId }} {{ detail }}",
)  # fmt: skip

_BY_EVENT: dict[str, list[Rule]] = {}
for _rule in RULES:
    _BY_EVENT.setdefault(_rule.event.type, []).append(_rule)

HEARD = tuple(_BY_EVENT)
"""The types of events that any rule speaks about."""


def rules_for(event_type: str, payload: Mapping[str, Any]) -> Iterator[Rule]:
    """The rules that speak about an event."""
    found = [rule for rule in _BY_EVENT.get(event_type, ()) if rule.when(payload)]
    yield from found
    if not found and event_type == OperatorNotice.type:
        yield _OTHER_NOTICE
