"""Every domain event, who may see it and what it says.

``type`` is the name on the wire (the SSE event name); the payload is the camelCase JSON that clients get.
"""

from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

OPERATORS = "operators"
PUBLIC = "public"


def user_audience(user_id: UUID) -> str:
    """The audience that is one person."""
    return f"user:{user_id}"


def device_audience(device_id: UUID) -> str:
    """The audience that is one registered device."""
    return f"device:{device_id}"


@dataclass(frozen=True)
class Audience:
    """Who may see an event; nobody else does."""

    names: tuple[str, ...]

    @classmethod
    def operators_and(cls, user_id: UUID | None) -> "Audience":
        """Operators, and the driver when there is one."""
        return cls((OPERATORS,) if user_id is None else (OPERATORS, user_audience(user_id)))


class DomainEvent(BaseModel):
    """The base of all events: immutable, camelCase on the wire, ``audience`` beside the payload."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    type: ClassVar[str]
    shows_null: ClassVar[bool] = False
    """Whether clients get a field without a value as null; else they do not get it."""
    audience: Audience

    def payload(self) -> dict[str, Any]:
        """The JSON object that goes to clients."""
        return self.model_dump(mode="json", by_alias=True, exclude={"audience"}, exclude_none=not self.shows_null)

    def payload_text(self) -> str:
        """The payload as JSON text."""
        return self.model_dump_json(by_alias=True, exclude={"audience"}, exclude_none=not self.shows_null)


class SessionEvent(DomainEvent):
    """What all events about one charging session carry."""

    session_id: int
    transaction_id: int
    charge_box_id: str
    connector_id: int
    user_mapping_id: int | None = None


class SessionStarted(SessionEvent):
    """A car began to charge."""

    type: ClassVar[str] = "session.started"
    started_at: str


class SessionStopped(SessionEvent):
    """Charging ended. ``final`` is False while the stop value may still change."""

    type: ClassVar[str] = "session.stopped"
    stopped_at: str
    energy_wh: int
    energy_kwh: str
    stop_reason: str | None = None
    final: bool


class SessionQuarantined(SessionEvent):
    """A session is not believable and waits for an operator; drivers are not told the reason."""

    type: ClassVar[str] = "session.quarantined"
    reason: str


class SessionReleased(SessionEvent):
    """A person has settled a session that was set aside, at ``stop_wh`` on its register."""

    type: ClassVar[str] = "session.released"
    was: str
    """Why it was set aside."""
    stop_wh: int
    actor: str
    reason: str


class EventsRequeued(DomainEvent):
    """A person has energy sent to Lago again, unchanged."""

    type: ClassVar[str] = "billing.events_requeued"
    audience: Audience = Audience((OPERATORS,))
    transaction_ids: list[str]
    actor: str


class BooksDiffer(DomainEvent):
    """Reconciliation found a difference between two books; ``difference_kwh`` is positive when energy is missing."""

    type: ClassVar[str] = "billing.books_differ"
    kind: str
    subject: str
    subscription: str | None = None
    difference_kwh: str


class LateEnergy(SessionEvent):
    """Energy reached billing after Lago had closed its period; it goes on the next invoice."""

    type: ClassVar[str] = "billing.late_energy"
    late_wh: int


class SessionBilled(SessionEvent):
    """Lago has accepted energy of a session; ``billed_wh`` is the session's total so far."""

    type: ClassVar[str] = "transaction.billing"
    billed_wh: int
    billed_kwh: str
    lago_event_transaction_id: str
    flushed_at: str
    is_reconciliation: bool
    """True when this completes the session's bill."""


class SessionStopWanted(SessionEvent):
    """A running session must be stopped, for ``reason``; the sync-worker asks the charger."""

    type: ClassVar[str] = "session.stop_wanted"
    reason: str
    """``models.StopReason``."""


class OperationCompleted(DomainEvent):
    """It is known what became of a remote operation, or that nobody will know."""

    type: ClassVar[str] = "operation.completed"
    operation_log_id: int
    charge_box_id: str
    operation: str
    status: str
    """``completed``, ``failed`` or ``timeout``."""
    outcome: str
    """``domain.operation_outcome.Outcome``."""
    task_id: int | None = None


class ReservationEvent(DomainEvent):
    """What all events about one reservation carry."""

    reservation_id: int
    charge_box_id: str
    connector_id: int
    start_at_iso: str
    end_at_iso: str
    status: str
    reason: str | None = None


class ReservationChanged(ReservationEvent):
    """A reservation was made, moved, confirmed or refused by the charger, used, or its time has passed."""

    type: ClassVar[str] = "reservation.changed"


class ReservationCancelled(ReservationEvent):
    """A reservation was cancelled; its driver is told."""

    type: ClassVar[str] = "reservation.cancelled"


class BillingStopped(DomainEvent):
    """Nothing is sent to Lago any more: its metric would not count our events. Energy is ledgered and waits."""

    type: ClassVar[str] = "billing.stopped"
    audience: Audience = Audience((OPERATORS,))
    reason: str
    """``missing``, ``aggregation_type``, ``field_name`` or ``recurring``: what is wrong with the metric."""
    metric_code: str


class BillingResumed(DomainEvent):
    """Lago's metric is right again; what waited is sent."""

    type: ClassVar[str] = "billing.resumed"
    audience: Audience = Audience((OPERATORS,))
    metric_code: str


class InvoiceUpdated(DomainEvent):
    """Lago said something about an invoice; the mirror has its latest state."""

    type: ClassVar[str] = "invoice.updated"
    invoice_id: str
    status: str | None = None
    payment_status: str | None = None
    payment_overdue: bool | None = None
    webhook_type: str | None = None


class UsageLimitReached(DomainEvent):
    """What a subscription has used in this period has reached a limit that was set in Lago; its driver is told."""

    type: ClassVar[str] = "usage.limit_reached"
    subscription: str
    limit: str
    """Which one, as Lago names it."""


class CardsSwitched(DomainEvent):
    """Cards went on or off with their subscription."""

    type: ClassVar[str] = "cards.switched"
    active: bool
    reason: str
    user_mapping_ids: list[int]
    external_customer_id: str


class OperatorNotice(DomainEvent):
    """Something that operators should read; ``kind`` is a notification kind (domain.md §5.2)."""

    type: ClassVar[str] = "operator.notice"
    audience: Audience = Audience((OPERATORS,))
    kind: str
    severity: str
    """``info``, ``success``, ``warn`` or ``error``."""
    source_type: str
    source_id: str | None = None
    external_customer_id: str | None = None
    detail: str | None = None
    """A code or an identifier, never a person's data."""


class CustomerAccountProvisioned(DomainEvent):
    """A portal account was made for a Lago customer."""

    type: ClassVar[str] = "customer.account.auto_provisioned"
    audience: Audience = Audience((OPERATORS,))
    user_id: UUID
    external_customer_id: str


class CustomerAccountBlocked(DomainEvent):
    """No account was made: the customer's e-mail address belongs to an operator."""

    type: ClassVar[str] = "customer.account.auto_create_blocked_admin_email"
    audience: Audience = Audience((OPERATORS,))
    external_customer_id: str


class DeviceRegistered(DomainEvent):
    """Somebody signed in on a device: its owner is told."""

    type: ClassVar[str] = "device.registered"
    device_id: UUID
    label: str
    platform: str
    model: str
    flow: str
    """``register``, ``magic-link-verify`` or ``qr-sign-in``."""


class DeviceTokenRevoked(DomainEvent):
    """A device's credentials ended; its streams close."""

    type: ClassVar[str] = "device.token.revoked"
    device_id: UUID
    token_id: UUID
    reason: str
    """``self``, ``admin`` or ``replaced``."""


class DeviceScanRequested(DomainEvent):
    """A device is asked to read a card."""

    type: ClassVar[str] = "device.scan.requested"
    shows_null: ClassVar[bool] = True
    device_id: UUID
    pairing_code: str
    purpose: str
    expires_at_iso: str
    expires_at_epoch_ms: int
    requested_by_user_id: UUID | None = None
    hint_label: str | None = None


class DeviceScanCancelled(DomainEvent):
    """A device need not read a card any more."""

    type: ClassVar[str] = "device.scan.cancelled"
    device_id: UUID
    pairing_code: str
    cancelled_at: int
    """Milliseconds since 1970."""
    source: str
    """``admin``, ``device`` or ``customer``."""


class DeviceScanCompleted(DomainEvent):
    """A device has read a card; the card's number stays with us."""

    type: ClassVar[str] = "device.scan.completed"
    audience: Audience = Audience((OPERATORS,))
    device_id: UUID
    pairing_code: str
    t: int
    """Milliseconds since 1970."""
    success: bool


class SignedInByCard(DomainEvent):
    """Somebody signed in by holding a card to a charger or a device: its owner is told."""

    type: ClassVar[str] = "sign_in.by_card"
    pairable_type: str
    pairable_id: str


class QrSignInSuspicious(DomainEvent):
    """Printed ids are being guessed: signing in with them rests until the guessing ends."""

    type: ClassVar[str] = "sign_in.qr_guessing"
    audience: Audience = Audience((OPERATORS,))
    failures: int
    minutes: int


class FeatureFlagsChanged(DomainEvent):
    """Flags were set for everybody: whoever holds values asks again."""

    type: ClassVar[str] = "feature-flags.changed"
    keys: list[str]


class DeviceFeatureFlagsChanged(DomainEvent):
    """Flags changed for one device, by its own override or its owner's value."""

    type: ClassVar[str] = "device.feature-flags.changed"
    device_id: UUID
    keys: list[str]


class ComponentDown(DomainEvent):
    """Something that we depend on has not answered for a while; told once, until it is back."""

    type: ClassVar[str] = "component.down"
    audience: Audience = Audience((OPERATORS,))
    component: str
    """``steve`` or ``lago``."""
    error: str
    """A code, never a message."""
    since: str


class ComponentRecovered(DomainEvent):
    """What was told to be down answers again."""

    type: ClassVar[str] = "component.recovered"
    audience: Audience = Audience((OPERATORS,))
    component: str
    told_at: str
    """When operators were told that it was away."""


class AccountViewed(DomainEvent):
    """An operator has looked at a driver's account: the driver is told, at least once a day."""

    type: ClassVar[str] = "account.viewed"


class CardReportedLost(DomainEvent):
    """A driver's card is lost and no longer charges; operators are told."""

    type: ClassVar[str] = "card.reported_lost"
    audience: Audience = Audience((OPERATORS,))
    card_id: int
    """Of the mapping."""
    ocpp_tag_pk: int | None = None
    user_id: UUID | None = None
    reason: str | None = None
    """What the driver said."""


class NotificationCreated(DomainEvent):
    """Somebody has a new notification: all operators, or the one person it is addressed to."""

    type: ClassVar[str] = "notification.created"
    shows_null: ClassVar[bool] = True
    id: int
    kind: str
    severity: str
    """``info``, ``success``, ``warn`` or ``error``."""
    title: str
    body: str
    source_type: str | None = None
    source_id: str | None = None
    source_url: str | None = None
    """A path on the reader's own host, or a whole address elsewhere."""
    admin_user_id: UUID | None = None
    """Whom it is addressed to, driver or operator; None when it goes to all operators."""
    created_at: str


class NotificationRead(DomainEvent):
    """Somebody has read or dismissed notifications: their other windows count anew."""

    type: ClassVar[str] = "notification.read"
    shows_null: ClassVar[bool] = True
    id: int | None = None
    """Which one; None when it was all of them."""
    admin_user_id: UUID
    """Who has read."""
    count: int
    """How many are not unread any more."""
