"""How the services themselves are doing."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from polaris_common.models.base import Base, BigId, CreatedAt


class SyncRunStatus(StrEnum):
    """Where a sync run stands."""

    REQUESTED = "requested"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class SyncRun(Base):
    """One full pass over SteVe: what was seen, new, changed."""

    __tablename__ = "sync_runs"
    __table_args__ = (
        CheckConstraint("status IN ('requested', 'running', 'completed', 'failed')", name="sync_runs_status_check"),
        Index("sync_runs_requested_key", "status", unique=True, postgresql_where="status = 'requested'"),
    )

    id: Mapped[BigId]
    trigger: Mapped[str]
    status: Mapped[str] = mapped_column(server_default=SyncRunStatus.REQUESTED)
    requested_at: Mapped[CreatedAt]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    transactions_seen: Mapped[int] = mapped_column(server_default=text("0"))
    transactions_new: Mapped[int] = mapped_column(server_default=text("0"))
    transactions_changed: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str | None]


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
