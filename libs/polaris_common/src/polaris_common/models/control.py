"""What we ask chargers to do: remote operations, stops that are wanted, reservations."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from polaris_common.models.base import Base, BigId, CreatedAt


class OperationStatus(StrEnum):
    """Where an operation stands."""

    PENDING = "pending"
    SENDING = "sending"
    """On its way to SteVe, which waits for the charger; on the wire this is still ``pending``."""
    SUBMITTED = "submitted"
    """SteVe has it; the charger's answer is still open."""
    COMPLETED = "completed"
    """The charger did it, or will."""
    FAILED = "failed"
    TIMEOUT = "timeout"
    """Nobody knows whether the charger did it, and nobody will."""
    DRY_RUN = "dry_run"


class ChargerOperation(Base):
    """One request to one charger. Sent at most once, whatever happens. Written through ``OperationLogRepository``."""

    __tablename__ = "charger_operation_log"
    __table_args__ = (
        CheckConstraint(
            "status IN ('pending', 'sending', 'submitted', 'completed', 'failed', 'timeout', 'dry_run')",
            name="charger_operation_log_status_check",
        ),
        CheckConstraint(
            "(status IN ('completed', 'failed', 'timeout')) = (outcome IS NOT NULL)",
            name="charger_operation_log_outcome_check",
        ),
        CheckConstraint(
            "source IN ('operator', 'driver', 'device', 'auto_stop', 'reservation')",
            name="charger_operation_log_source_check",
        ),
        Index("charger_operation_log_box_idx", "charge_box_id", text("id DESC")),
        Index(
            "charger_operation_log_open_idx",
            "charge_box_id",
            "id",
            postgresql_where="status IN ('pending', 'sending', 'submitted')",
        ),
        Index("charger_operation_log_user_idx", "requested_by", postgresql_where="requested_by IS NOT NULL"),
    )

    id: Mapped[BigId]
    charge_box_id: Mapped[str]
    operation: Mapped[str]
    params: Mapped[dict[str, Any]] = mapped_column(JSONB)
    source: Mapped[str]
    reason: Mapped[str | None]
    """Why the platform itself asked, as a code."""
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    requested_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    status: Mapped[str] = mapped_column(server_default=OperationStatus.PENDING)
    outcome: Mapped[str | None]
    """``domain.operation_outcome.Outcome`` once it is known."""
    task_id: Mapped[int | None] = mapped_column(BigInteger)
    """SteVe's number for the call; not a reservation's number, and reused after SteVe restarts."""
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """SteVe's answer, or ``{"error": code}``."""
    not_after: Mapped[datetime]
    """What could not be sent until then is not sent at all: nobody expects it any more."""
    created_at: Mapped[CreatedAt]
    sent_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class StopReason(StrEnum):
    """Why a running session is to be stopped."""

    SUBSCRIPTION_TERMINATED = "subscription_terminated"
    WALLET_DEPLETED = "wallet_depleted"
    USAGE_CAP_EXCEEDED = "usage_cap_exceeded"
    CARD_REPORTED_LOST = "card_reported_lost"
    MANUAL = "manual"


class SessionStop(Base):
    """A running session is to be stopped; open until it has ended. Written through ``SessionStopRepository``."""

    __tablename__ = "session_stops"
    __table_args__ = (
        CheckConstraint(
            "reason IN ('subscription_terminated', 'wallet_depleted', 'usage_cap_exceeded', 'card_reported_lost',"
            " 'manual')",
            name="session_stops_reason_check",
        ),
        UniqueConstraint("session_id", "reason", name="session_stops_session_reason_key"),
        Index("session_stops_open_idx", "id", postgresql_where="closed_at IS NULL"),
    )

    id: Mapped[BigId]
    session_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("charging_sessions.id", ondelete="CASCADE"))
    reason: Mapped[str]
    requested_at: Mapped[CreatedAt]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    operation_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("charger_operation_log.id", ondelete="SET NULL")
    )
    """The latest attempt."""
    asked_at: Mapped[datetime | None]
    notified_at: Mapped[datetime | None]
    """When operators were told that the session goes on all the same."""
    closed_at: Mapped[datetime | None]


class ReservationStatus(StrEnum):
    """Where a reservation stands, as clients see it; the first three block the connector for others."""

    PENDING = "pending"
    """Booked; the charger has not confirmed it."""
    CONFIRMED = "confirmed"
    """The charger holds its connector."""
    ACTIVE = "active"
    """Its driver charges."""
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    CONFLICTED = "conflicted"
    """The charger refused it."""
    ORPHANED = "orphaned"
    """Its time passed and nobody came."""


class Hold(StrEnum):
    """What the charger knows of a reservation."""

    NONE = "none"
    ASKING = "asking"
    HELD = "held"
    REFUSED = "refused"
    UNSUPPORTED = "unsupported"
    """SteVe or the charger cannot reserve: only our own books hold it."""
    UNKNOWN = "unknown"
    """The answer was lost; it may hold it until its end."""
    RELEASING = "releasing"
    RELEASED = "released"
    LEFT = "left"
    """It could not be taken back; it runs out by itself at its end."""


class Reservation(Base):
    """A connector (0: the whole charge box) kept for one tag, from ``start_at`` until just before ``end_at``."""

    __tablename__ = "reservations"
    __table_args__ = (
        CheckConstraint("end_at > start_at", name="reservations_window_check"),
        CheckConstraint("connector_id >= 0", name="reservations_connector_check"),
        CheckConstraint(
            "status IN ('pending', 'confirmed', 'active', 'completed', 'cancelled', 'conflicted', 'orphaned')",
            name="reservations_status_check",
        ),
        CheckConstraint(
            "hold IN ('none', 'asking', 'held', 'refused', 'unsupported', 'unknown', 'releasing', 'released', 'left')",
            name="reservations_hold_check",
        ),
        ExcludeConstraint(
            (text("lower(charge_box_id)"), "="),
            (
                text(
                    "(CASE WHEN connector_id = 0 THEN int4range(0, NULL)"
                    " ELSE int4range(connector_id, connector_id + 1) END)"
                ),
                "&&",
            ),
            (text("tstzrange(start_at, end_at)"), "&&"),
            where="status IN ('pending', 'confirmed', 'active')",
            name="reservations_no_overlap",
            using="gist",
        ),
        Index(
            "reservations_upkeep_idx",
            "start_at",
            postgresql_where="status IN ('pending', 'confirmed', 'active')"
            " OR hold IN ('asking', 'held', 'unknown', 'releasing')",
        ),
        Index("reservations_tag_idx", "ocpp_tag_pk", text("start_at DESC")),
        Index("reservations_user_idx", "user_id", text("start_at DESC")),
        Index("reservations_status_idx", "status", text("start_at DESC")),
    )

    id: Mapped[BigId]
    charge_box_id: Mapped[str]
    connector_id: Mapped[int]
    ocpp_tag_pk: Mapped[int]
    """-1: an operator keeps the connector free for nobody; never sent to the charger."""
    id_tag: Mapped[str]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    lago_subscription_external_id: Mapped[str | None]
    start_at: Mapped[datetime]
    end_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(server_default=ReservationStatus.PENDING)
    reason: Mapped[str | None]
    """Why it ended or was refused, as a code; of a cancellation, what was said."""
    hold: Mapped[str] = mapped_column(server_default=Hold.NONE)
    held_until: Mapped[datetime | None]
    """The expiry that was last sent to the charger."""
    steve_reservation_id: Mapped[int | None] = mapped_column(BigInteger)
    """The charger's number for it, where SteVe says it."""
    operation_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("charger_operation_log.id", ondelete="SET NULL")
    )
    """The latest ReserveNow or CancelReservation."""
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime | None]
    session_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("charging_sessions.id", ondelete="SET NULL"))
    """The session that used it."""
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    cancelled_at: Mapped[datetime | None]
