"""What the simulated organization owns. Times are microseconds since the epoch."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from polaris_sim.lago.periods import BillingTime, Interval, Period, period_containing
from polaris_sim.lago.wire import JsonObject, new_id


class Aggregation(StrEnum):
    """How a billable metric turns events into units."""

    COUNT = "count_agg"
    SUM = "sum_agg"
    MAX = "max_agg"
    UNIQUE_COUNT = "unique_count_agg"
    LATEST = "latest_agg"
    WEIGHTED_SUM = "weighted_sum_agg"


class ChargeModel(StrEnum):
    """How a charge turns units into money."""

    STANDARD = "standard"
    GRADUATED = "graduated"
    PACKAGE = "package"
    PERCENTAGE = "percentage"
    VOLUME = "volume"
    DYNAMIC = "dynamic"
    GRADUATED_PERCENTAGE = "graduated_percentage"


class SubscriptionStatus(StrEnum):
    """Life of a subscription."""

    PENDING = "pending"
    ACTIVE = "active"
    CANCELED = "canceled"
    TERMINATED = "terminated"
    INCOMPLETE = "incomplete"


class InvoiceStatus(StrEnum):
    """Life of an invoice."""

    DRAFT = "draft"
    FINALIZED = "finalized"
    VOIDED = "voided"
    FAILED = "failed"
    PENDING = "pending"


class PaymentStatus(StrEnum):
    """Whether an invoice is paid."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Event:
    """One accepted usage event."""

    transaction_id: str
    external_subscription_id: str | None
    code: str
    timestamp: int
    properties: JsonObject
    precise_total_amount_cents: str | None
    created_at: int
    lago_id: str | None


@dataclass(eq=False)
class Metric:
    """A billable metric."""

    code: str
    name: str
    aggregation: Aggregation
    field_name: str | None
    filters: dict[str, list[str]]
    fields: JsonObject
    created_at: int
    lago_id: str = field(default_factory=new_id)


@dataclass(eq=False)
class ChargeFilter:
    """A price for the events whose properties have certain values."""

    values: dict[str, list[str]]
    properties: JsonObject
    invoice_display_name: str | None
    lago_id: str = field(default_factory=new_id)


@dataclass(eq=False)
class Charge:
    """The price of one metric in one plan."""

    metric: Metric
    code: str
    model: ChargeModel
    properties: JsonObject
    filters: list[ChargeFilter]
    fields: JsonObject
    created_at: int
    lago_id: str = field(default_factory=new_id)


@dataclass(eq=False)
class Plan:
    """A plan with its charges."""

    code: str
    name: str
    interval: Interval
    amount_cents: int
    currency: str
    pay_in_advance: bool
    charges: list[Charge]
    fields: JsonObject
    created_at: int
    lago_id: str = field(default_factory=new_id)


@dataclass(eq=False)
class Customer:
    """A customer; ``fields`` are what the client sent."""

    external_id: str
    sequential_id: int
    fields: JsonObject
    zone: ZoneInfo
    created_at: int
    updated_at: int
    lago_id: str = field(default_factory=new_id)
    invoice_count: int = 0

    @property
    def currency(self) -> str | None:
        """The currency, once it is known."""
        value = self.fields.get("currency")
        return value if isinstance(value, str) else None


@dataclass(eq=False)
class Subscription:
    """A customer's subscription to a plan; ``billed_until`` is where the next invoice begins."""

    external_id: str
    customer: Customer
    plan: Plan
    billing_time: BillingTime
    subscription_at: int
    created_at: int
    name: str | None = None
    status: SubscriptionStatus = SubscriptionStatus.PENDING
    started_at: int | None = None
    ending_at: int | None = None
    terminated_at: int | None = None
    canceled_at: int | None = None
    billed_until: int = 0
    previous: "Subscription | None" = None
    next: "Subscription | None" = None
    on_termination_invoice: str = "generate"
    on_termination_credit_note: str | None = None
    lago_id: str = field(default_factory=new_id)

    def life(self, horizon: int) -> Period | None:
        """From when to when events count, open-ended lives cut at ``horizon``; None before the start.

        An event at the very instant of termination still counts, unless a successor took over at that instant.
        """
        if self.started_at is None:
            return None
        if self.terminated_at is None:
            return Period(self.started_at, horizon)
        replaced = self.next is not None and self.next.started_at is not None
        return Period(self.started_at, self.terminated_at if replaced else self.terminated_at + 1)

    def period(self, time: int) -> Period:
        """The whole billing period around ``time``."""
        plan, zone = self.plan, self.customer.zone
        return period_containing(time, plan.interval, self.billing_time, self.subscription_at, zone)


@dataclass(eq=False)
class Fee:
    """Money for one charge, filter and group in one period, or (no ``charge``) for the subscription itself."""

    subscription: Subscription
    period: Period
    charge: Charge | None
    filter: ChargeFilter | None
    grouped_by: dict[str, str | None]
    units: Decimal
    events_count: int
    precise_amount: Decimal
    amount_cents: int
    created_at: int
    lago_id: str = field(default_factory=new_id)


@dataclass(eq=False)
class Invoice:
    """An invoice for one period of one subscription."""

    customer: Customer
    subscription: Subscription
    period: Period
    reason: str
    number: str
    currency: str
    issuing_date: str
    status: InvoiceStatus
    created_at: int
    updated_at: int
    fees: list[Fee] = field(default_factory=list)
    payment_status: PaymentStatus = PaymentStatus.PENDING
    payment_overdue: bool = False
    file_ready: bool = False
    metadata: list[JsonObject] = field(default_factory=list)
    sequential_id: int = 0
    lago_id: str = field(default_factory=new_id)

    @property
    def fees_amount_cents(self) -> int:
        """The sum of the fees."""
        return sum(fee.amount_cents for fee in self.fees)


@dataclass(eq=False)
class Wallet:
    """Prepaid credits of a customer."""

    customer: Customer
    name: str | None
    currency: str
    rate_amount: Decimal
    credits_balance: Decimal
    created_at: int
    expiration_at: str | None = None
    lago_id: str = field(default_factory=new_id)
