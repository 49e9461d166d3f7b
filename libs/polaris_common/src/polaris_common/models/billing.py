"""The energy ledger and its delivery to Lago. Written by the billing-bridge alone."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

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
    """Energy of one session's register from ``from_wh`` up to ``to_wh``: append-only, never overlapping in its layer.

    Layer 0 is energy sold. Layer 1 takes energy of layer 0 back, layer 2 sells energy of layer 1 again, and so on; the
    database lets a layer cover only what the layer below covers. So each watt-hour is sold at most once,
    however often a stop value changes.
    """

    __tablename__ = "energy_slices"
    __table_args__ = (
        CheckConstraint("from_wh >= 0 AND to_wh > from_wh", name="energy_slices_range_check"),
        CheckConstraint("layer >= 0", name="energy_slices_layer_check"),
        UniqueConstraint("session_id", "slice_index", name="energy_slices_index_key"),
        ExcludeConstraint(
            ("session_id", "="),
            ("layer", "="),
            (text("int8range(from_wh, to_wh)"), "&&"),
            name="energy_slices_no_overlap",
            using="gist",
        ),
        Index("energy_slices_subscription_idx", "subscription_external_id", "ended_at"),
    )

    id: Mapped[BigId]
    session_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("charging_sessions.id", ondelete="RESTRICT"))
    slice_index: Mapped[int]
    layer: Mapped[int] = mapped_column(server_default=text("0"))
    """Even: energy sold; odd: energy taken back."""
    from_wh: Mapped[Wh]
    to_wh: Mapped[Wh]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime]
    final: Mapped[bool]
    """Cut by SteVe's stop value."""
    subscription_external_id: Mapped[str]
    late: Mapped[bool] = mapped_column(server_default=text("false"))
    """Its period was closed already: stamped into the open one, for an operator to see."""
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
        Index(
            "lago_events_pending_idx",
            text("urgent DESC"),
            "next_attempt_at",
            "id",
            postgresql_where="status = 'pending'",
        ),
        Index("lago_events_quarantined_idx", "id", postgresql_where="status = 'quarantined'"),
        Index("lago_events_overdue_idx", "overdue_since", postgresql_where="overdue_since IS NOT NULL"),
    )

    id: Mapped[BigId]
    slice_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("energy_slices.id", ondelete="RESTRICT"), unique=True)
    transaction_id: Mapped[str] = mapped_column(unique=True)
    body: Mapped[str]
    """The event as JSON text, exactly as Lago gets it. It changes only while Lago certainly does not have it."""
    status: Mapped[str] = mapped_column(server_default=LagoEventStatus.PENDING)
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """Not before this time; a claim moves it ahead, so that a dead sender's claim runs out."""
    urgent: Mapped[bool] = mapped_column(server_default=text("false"))
    """Its billing period is about to close: it goes first, with little back-off."""
    delivered_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    overdue_since: Mapped[datetime | None]
    """Its period closed before Lago is known to have it: it is not sent as it is."""
    restamped_at: Mapped[datetime | None]
    """Lago did not have it when its period closed: ``body`` is stamped into the period that was open then."""


class LedgerHome(Base):
    """The database in which the ledger was last known to be complete (see ``billing_bridge.recovery``)."""

    __tablename__ = "ledger_home"
    __table_args__ = (CheckConstraint("id", name="ledger_home_only_one_check"),)

    id: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    identity: Mapped[str]
    """Cluster, database in it, and timeline, as ``database_identity()`` says it."""
    confirmed_at: Mapped[CreatedAt]


class RecoveredLagoEvent(Base):
    """An event that Lago had and a restored copy of the database did not; a slice again once its session is billed."""

    __tablename__ = "recovered_events"
    __table_args__ = (
        Index(
            "recovered_events_waiting_idx",
            "steve_transaction_id",
            postgresql_where="session_id IS NULL",
        ),
    )

    transaction_id: Mapped[str] = mapped_column(primary_key=True)
    steve_transaction_id: Mapped[int] = mapped_column(BigInteger)
    earlier_charges: Mapped[int]
    charge_box_id: Mapped[str]
    connector_id: Mapped[int]
    slice_index: Mapped[int]
    """As it was numbered when it was cut first."""
    layer: Mapped[int]
    from_wh: Mapped[Wh]
    to_wh: Mapped[Wh]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime]
    final: Mapped[bool]
    late: Mapped[bool]
    subscription_external_id: Mapped[str]
    body: Mapped[str]
    session_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("charging_sessions.id", ondelete="RESTRICT"))
    """The session that it has become a slice of."""
    found_at: Mapped[CreatedAt]


class ReconciliationFinding(Base):
    """A difference between the books: register, ledger, delivered, Lago. Open until a later check finds it gone."""

    __tablename__ = "reconciliation_findings"
    __table_args__ = (
        CheckConstraint(
            "kind IN ('ledger_short', 'ledger_excess', 'undelivered', 'missing_in_lago', 'extra_in_lago',"
            " 'value_differs', 'usage_differs', 'invoice_differs', 'dead_in_lago', 'quarantined')",
            name="reconciliation_findings_kind_check",
        ),
        Index(
            "reconciliation_findings_open_key",
            "kind",
            "subject",
            unique=True,
            postgresql_where="resolved_at IS NULL",
        ),
    )

    id: Mapped[BigId]
    kind: Mapped[str]
    subject: Mapped[str]
    """A Lago transaction_id, ``session:<id>``, ``subscription:<external id>`` or ``invoice:<id>:<external id>``."""
    subscription_external_id: Mapped[str | None] = mapped_column(index=True)
    session_id: Mapped[int | None] = mapped_column(BigInteger)
    difference_wh: Mapped[Wh]
    """What is missing (positive) or too much (negative)."""
    transaction_ids: Mapped[list[str]] = mapped_column(ARRAY(Text()), server_default=text("'{}'"))
    """The first of the events that differ."""
    event_count: Mapped[int | None]
    """How many differ."""
    found_at: Mapped[CreatedAt]
    seen_at: Mapped[CreatedAt]
    resolved_at: Mapped[datetime | None]


class BillingAlert(Base):
    """Something that operators have been told and that still holds; deleted, and told again, when it is over."""

    __tablename__ = "billing_alerts"

    kind: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    raised_at: Mapped[CreatedAt]


class BillingCounter(Base):
    """A figure that only grows, so that nobody has to count millions of rows."""

    __tablename__ = "billing_counters"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class OperatorAction(Base):
    """What a person decided about money: a session released, an event sent again. Kept for ever."""

    __tablename__ = "operator_actions"
    __table_args__ = (Index("operator_actions_subject_idx", "subject", "id"),)

    id: Mapped[BigId]
    action: Mapped[str]
    subject: Mapped[str]
    """``session:<id>``, ``event:<transaction_id>`` or ``subscription:<external id>``."""
    actor: Mapped[str]
    """Who: ``cli:<user of the machine>`` or an operator's id."""
    reason: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    acted_at: Mapped[CreatedAt]
