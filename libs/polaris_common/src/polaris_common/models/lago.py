"""The mirror of Lago's objects and the inbox of its webhooks. Written by the billing-bridge alone (the inbox's rows are
inserted by the gateway).

Every mirrored row keeps Lago's whole object in ``payload``. ``deleted_at`` is set only after Lago has confirmed with a
404 that the object is gone; absence from a list means nothing.
"""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, Numeric, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from polaris_common.models.base import Base, BigId, CreatedAt


class MirroredFromLago:
    """The columns of every mirrored object."""

    lago_id: Mapped[str] = mapped_column(primary_key=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    lago_updated_at: Mapped[datetime | None]
    """Lago's own time of the last change, where it tells one; an older object never replaces a newer one."""
    mirrored_at: Mapped[CreatedAt]
    deleted_at: Mapped[datetime | None]


class LagoCustomer(MirroredFromLago, Base):
    """One Lago customer."""

    __tablename__ = "lago_customers"

    external_id: Mapped[str] = mapped_column(index=True)
    name: Mapped[str | None]
    email: Mapped[str | None]
    currency: Mapped[str | None]
    timezone: Mapped[str]
    """The applicable zone, in which billing periods begin and end; UTC when Lago tells none."""


class LagoSubscription(MirroredFromLago, Base):
    """One Lago subscription, in whatever status. Upgrades keep ``external_id`` and change ``lago_id``."""

    __tablename__ = "lago_subscriptions"

    external_id: Mapped[str] = mapped_column(index=True)
    external_customer_id: Mapped[str] = mapped_column(index=True)
    plan_code: Mapped[str]
    status: Mapped[str]
    started_at: Mapped[datetime | None]
    terminated_at: Mapped[datetime | None]
    ending_at: Mapped[datetime | None]
    period_started_at: Mapped[datetime | None]
    period_ending_at: Mapped[datetime | None]


class LagoPlan(MirroredFromLago, Base):
    """One Lago plan and the metrics it charges for."""

    __tablename__ = "lago_plans"

    code: Mapped[str] = mapped_column(index=True)
    name: Mapped[str | None]
    interval: Mapped[str | None]
    amount_cents: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str | None]
    metric_codes: Mapped[list[str]] = mapped_column(ARRAY(Text()))


class LagoBillableMetric(MirroredFromLago, Base):
    """One Lago billable metric."""

    __tablename__ = "lago_billable_metrics"

    code: Mapped[str] = mapped_column(index=True)
    name: Mapped[str | None]
    aggregation_type: Mapped[str]
    field_name: Mapped[str | None]
    recurring: Mapped[bool]


class LagoInvoice(MirroredFromLago, Base):
    """One Lago invoice; amounts in minor units."""

    __tablename__ = "lago_invoices"

    number: Mapped[str | None]
    external_customer_id: Mapped[str | None] = mapped_column(index=True)
    status: Mapped[str]
    payment_status: Mapped[str | None]
    invoice_type: Mapped[str | None]
    total_amount_cents: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str | None]
    issuing_date: Mapped[date | None] = mapped_column(index=True)
    payment_overdue: Mapped[bool]
    fees_mirrored_at: Mapped[datetime | None]


class LagoFee(MirroredFromLago, Base):
    """One line of an invoice; amounts in minor units."""

    __tablename__ = "lago_fees"

    invoice_lago_id: Mapped[str] = mapped_column(index=True)
    external_subscription_id: Mapped[str | None] = mapped_column(index=True)
    item_code: Mapped[str | None]
    item_name: Mapped[str | None]
    units: Mapped[Decimal | None] = mapped_column(Numeric())
    amount_cents: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str | None]


class LagoWallet(MirroredFromLago, Base):
    """One Lago wallet; the balance in minor units."""

    __tablename__ = "lago_wallets"

    external_customer_id: Mapped[str | None] = mapped_column(index=True)
    status: Mapped[str | None]
    currency: Mapped[str | None]
    balance_cents: Mapped[int | None] = mapped_column(BigInteger)


class WebhookStatus(StrEnum):
    """How far a received webhook got."""

    PENDING = "pending"
    PROCESSED = "processed"
    DEAD = "dead"
    """Failed as often as it may; a person can replay it."""


class LagoWebhookEvent(Base):
    """The inbox: what Lago sent, stored before it is answered, processed later, once."""

    __tablename__ = "lago_webhook_events"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'processed', 'dead')", name="lago_webhook_events_status_check"),
        Index("lago_webhook_events_due_idx", "next_attempt_at", "id", postgresql_where="status = 'pending'"),
        Index("lago_webhook_events_type_idx", "webhook_type", text("received_at DESC")),
        Index("lago_webhook_events_customer_idx", "external_customer_id", text("received_at DESC")),
        Index("lago_webhook_events_processed_idx", "processed_at", postgresql_where="status = 'processed'"),
        Index("lago_webhook_events_dead_idx", "id", postgresql_where="status = 'dead'"),
        Index("lago_webhook_events_replayed_idx", "replayed_from_id", postgresql_where="replayed_from_id IS NOT NULL"),
    )

    id: Mapped[BigId]
    unique_key: Mapped[str] = mapped_column(unique=True)
    """Lago's ``X-Lago-Unique-Key`` (the same on every retry); a hash of the body where there is none."""
    body_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    webhook_type: Mapped[str]
    object_type: Mapped[str | None]
    lago_object_id: Mapped[str | None]
    external_customer_id: Mapped[str | None]
    external_subscription_id: Mapped[str | None]
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(server_default=WebhookStatus.PENDING)
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=func.now())
    received_at: Mapped[CreatedAt]
    processed_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    replayed_from_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("lago_webhook_events.id", ondelete="SET NULL")
    )
    """The webhook that Lago sent, when this row is a replay of it."""
