"""How the services themselves are doing."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from polaris_common.domain.cadence import Tier
from polaris_common.models.base import Base, BigId, CreatedAt


class SyncRunStatus(StrEnum):
    """Where a sync run stands."""

    REQUESTED = "requested"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """An operator ended it; what it had stored until then stays."""


class SyncRun(Base):
    """One full pass over SteVe: what was seen, new, changed."""

    __tablename__ = "sync_runs"
    __table_args__ = (
        CheckConstraint(
            "status IN ('requested', 'running', 'completed', 'failed', 'cancelled')", name="sync_runs_status_check"
        ),
        Index("sync_runs_requested_key", "status", unique=True, postgresql_where="status = 'requested'"),
    )

    id: Mapped[BigId]
    trigger: Mapped[str]
    status: Mapped[str] = mapped_column(server_default=SyncRunStatus.REQUESTED)
    requested_at: Mapped[CreatedAt]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    """When an operator wanted it to end; the worker that is at it looks here between its steps."""
    transactions_seen: Mapped[int] = mapped_column(server_default=text("0"))
    transactions_new: Mapped[int] = mapped_column(server_default=text("0"))
    transactions_changed: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str | None]


class SegmentStatus(StrEnum):
    """How a segment of a run went."""

    RUNNING = "running"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class SyncRunSegment(Base):
    """One part of a run, with its counters, observable while it runs."""

    __tablename__ = "sync_run_segments"
    __table_args__ = (
        CheckConstraint(
            "status IN ('running', 'success', 'warning', 'error', 'skipped', 'cancelled')",
            name="sync_run_segments_status_check",
        ),
    )

    sync_run_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("sync_runs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    segment: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(server_default=SegmentStatus.RUNNING)
    seen: Mapped[int] = mapped_column(server_default=text("0"))
    new: Mapped[int] = mapped_column(server_default=text("0"))
    changed: Mapped[int] = mapped_column(server_default=text("0"))
    held: Mapped[int] = mapped_column(server_default=text("0"))
    failed: Mapped[int] = mapped_column(server_default=text("0"))
    started_at: Mapped[CreatedAt]
    completed_at: Mapped[datetime | None]


class SyncRunLog(Base):
    """One line of a run's log, written when it happens."""

    __tablename__ = "sync_run_logs"
    __table_args__ = (
        CheckConstraint("level IN ('debug', 'info', 'warn', 'error')", name="sync_run_logs_level_check"),
        Index("sync_run_logs_run_idx", "sync_run_id", "id"),
    )

    id: Mapped[BigId]
    sync_run_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("sync_runs.id", ondelete="CASCADE"))
    segment: Mapped[str]
    level: Mapped[str]
    message: Mapped[str]
    context: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class ChargerCadence(Base):
    """The tier of one charge box."""

    __tablename__ = "charger_cadence"
    __table_args__ = (CheckConstraint("tier IN ('active', 'idle', 'dormant')", name="charger_cadence_tier_check"),)

    charge_box_id: Mapped[str] = mapped_column(primary_key=True)
    tier: Mapped[str] = mapped_column(server_default=Tier.IDLE)
    quiet_ticks: Mapped[int] = mapped_column(server_default=text("0"))
    last_activity_at: Mapped[datetime | None]
    evaluated_at: Mapped[datetime | None]


class SyncSchedule(Base):
    """The fleet's tier, an operator's pin and when the next run is due; one row."""

    __tablename__ = "sync_schedule"
    __table_args__ = (
        CheckConstraint("id = 1", name="sync_schedule_single_check"),
        CheckConstraint("tier IN ('active', 'idle', 'dormant')", name="sync_schedule_tier_check"),
        CheckConstraint(
            "(pinned_tier IS NULL) = (pinned_until IS NULL) AND pinned_tier IN ('active', 'idle', 'dormant')",
            name="sync_schedule_pin_check",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True, server_default=text("1"), autoincrement=False)
    tier: Mapped[str] = mapped_column(server_default=Tier.IDLE)
    pinned_tier: Mapped[str | None]
    pinned_until: Mapped[datetime | None]
    next_run_at: Mapped[datetime | None]
    evaluated_at: Mapped[datetime | None]
    nightly_pass_on: Mapped[date | None]
    """The day of the last whole pass over SteVe's table."""


class TagBlockConsent(Base):
    """A run wanted to block more tags than it may without an operator's consent."""

    __tablename__ = "tag_block_consents"
    __table_args__ = (
        CheckConstraint("decision IN ('approved', 'refused', 'superseded')", name="tag_block_consents_decision_check"),
        Index(
            "tag_block_consents_open_key",
            text("(decision IS NULL)"),
            unique=True,
            postgresql_where="decision IS NULL",
        ),
    )

    id: Mapped[BigId]
    sync_run_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("sync_runs.id", ondelete="SET NULL"))
    id_tags: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    """What it wanted to block; a consent covers exactly these."""
    requested_at: Mapped[CreatedAt]
    decision: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[UUID | None]
    applied_at: Mapped[datetime | None]
    """When a run has used the approval up."""


class ComponentHealth(Base):
    """The latest word on something a worker watches: ``steve``, ``lago`` or ``sync``."""

    __tablename__ = "component_health"
    __table_args__ = (
        CheckConstraint("status IN ('ok', 'degraded', 'unhealthy')", name="component_health_status_check"),
    )

    component: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    error: Mapped[str | None]
    """A code, never a message."""
    checked_at: Mapped[CreatedAt]
    last_success_at: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    """Set while it is not fine."""
    told_at: Mapped[datetime | None]
    """When operators were told of the trouble that goes on."""
