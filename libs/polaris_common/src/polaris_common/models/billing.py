"""The energy ledger and its delivery to Lago. Written by the billing-bridge alone."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from polaris_common.models.base import Base, BigId, CreatedAt, Wh


class BillingStatus(StrEnum):
    """What billing has decided about a session."""

    BILLING = "billing"
    """Slices are being cut while it charges."""
    BILLED = "billed"
    """The slices cover stop minus start exactly."""
    HELD = "held"
    """Cannot be billed yet, for ``reason``; looked at again when the reason may have gone."""
    NOT_BILLABLE = "not_billable"
    """Will never be billed, for ``reason``."""


class SessionBilling(Base):
    """Billing's decision about one session, always with a reason when nothing is billed."""

    __tablename__ = "session_billing"
    __table_args__ = (
        CheckConstraint("status IN ('billing', 'billed', 'held', 'not_billable')", name="session_billing_status_check"),
        CheckConstraint(
            "(status IN ('held', 'not_billable')) = (reason IS NOT NULL)", name="session_billing_reason_check"
        ),
        Index("session_billing_held_idx", "checked_at", postgresql_where="status = 'held'"),
    )

    session_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("charging_sessions.id", ondelete="RESTRICT"), primary_key=True, autoincrement=False
    )
    status: Mapped[str]
    reason: Mapped[str | None]
    tag_mapping_id: Mapped[int | None] = mapped_column(BigInteger)
    subscription_external_id: Mapped[str | None]
    billed_wh: Mapped[Wh] = mapped_column(server_default=text("0"))
    """The sum of the session's slices."""
    slice_count: Mapped[int] = mapped_column(server_default=text("0"))
    checked_at: Mapped[CreatedAt]


class EnergySlice(Base):
    """Energy of one session's register from ``from_wh`` up to ``to_wh``: append-only, never overlapping."""

    __tablename__ = "energy_slices"
    __table_args__ = (
        CheckConstraint("from_wh >= 0 AND to_wh > from_wh", name="energy_slices_range_check"),
        UniqueConstraint("session_id", "slice_index", name="energy_slices_index_key"),
        ExcludeConstraint(
            ("session_id", "="),
            (text("int8range(from_wh, to_wh)"), "&&"),
            name="energy_slices_no_overlap",
            using="gist",
        ),
    )

    id: Mapped[BigId]
    session_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("charging_sessions.id", ondelete="RESTRICT"))
    slice_index: Mapped[int]
    from_wh: Mapped[Wh]
    to_wh: Mapped[Wh]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime]
    final: Mapped[bool]
    """Cut by SteVe's stop value."""
    subscription_external_id: Mapped[str]
    created_at: Mapped[CreatedAt]


class LagoEventStatus(StrEnum):
    """How far an event got."""

    PENDING = "pending"
    DELIVERED = "delivered"
    QUARANTINED = "quarantined"
    """Lago refuses this one event; a person must look."""


class LagoEvent(Base):
    """A slice's Lago event: its JSON is computed once and sent byte for byte, however often."""

    __tablename__ = "lago_events"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'delivered', 'quarantined')", name="lago_events_status_check"),
        Index("lago_events_pending_idx", "next_attempt_at", "id", postgresql_where="status = 'pending'"),
    )

    id: Mapped[BigId]
    slice_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("energy_slices.id", ondelete="RESTRICT"), unique=True)
    transaction_id: Mapped[str] = mapped_column(unique=True)
    body: Mapped[str]
    """The event as JSON text, exactly as Lago gets it."""
    status: Mapped[str] = mapped_column(server_default=LagoEventStatus.PENDING)
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """Not before this time; a claim moves it ahead, so that a dead sender's claim runs out."""
    delivered_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]


class LagoSubscription(Base):
    """The mirror of one Lago subscription, in whatever status."""

    __tablename__ = "lago_subscriptions"

    lago_id: Mapped[str] = mapped_column(primary_key=True)
    external_id: Mapped[str] = mapped_column(index=True)
    external_customer_id: Mapped[str] = mapped_column(index=True)
    plan_code: Mapped[str]
    status: Mapped[str]
    started_at: Mapped[datetime | None]
    terminated_at: Mapped[datetime | None]
    mirrored_at: Mapped[CreatedAt]
