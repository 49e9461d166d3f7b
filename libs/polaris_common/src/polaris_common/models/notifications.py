"""What people are told in the app, what each of them made of it, and what they want to be told."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from polaris_common.models.base import Base, BigId, CreatedAt


class Notification(Base):
    """Something that one person, or all operators, should know; made once, kept 90 days."""

    __tablename__ = "notifications"
    __table_args__ = (
        CheckConstraint("severity IN ('info', 'success', 'warn', 'error')", name="notifications_severity_check"),
        Index("notifications_operators_idx", text("id DESC"), postgresql_where="user_id IS NULL"),
        Index("notifications_user_idx", "user_id", text("id DESC"), postgresql_where="user_id IS NOT NULL"),
        Index("notifications_kind_idx", "kind", "created_at"),
        Index("notifications_created_idx", "created_at"),
    )

    id: Mapped[BigId]
    dedupe_key: Mapped[str] = mapped_column(unique=True)
    """What makes the same thing, told again, the same notification."""
    kind: Mapped[str]
    topic: Mapped[str]
    """The kinds that people switch on and off together; ``notifications.topics.Topic``."""
    severity: Mapped[str]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    """Whom it is addressed to, driver or operator; None: to all operators, and to nobody else."""
    title: Mapped[str]
    body: Mapped[str]
    source_type: Mapped[str | None]
    source_id: Mapped[str | None]
    source_url: Mapped[str | None]
    context: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[CreatedAt]


class NotificationReceipt(Base):
    """What one person did with one notification. Nobody else's list changes by it."""

    __tablename__ = "notification_receipts"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    notification_id: Mapped[int] = mapped_column(
        BigInteger,
        ForeignKey("notifications.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
        index=True,
    )
    read_at: Mapped[datetime | None]
    dismissed_at: Mapped[datetime | None]


class NotificationPreference(Base):
    """Where somebody wants something else than the usual."""

    __tablename__ = "notification_preferences"
    __table_args__ = (CheckConstraint("channel IN ('in_app', 'email')", name="notification_preferences_channel_check"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    topic: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    enabled: Mapped[bool]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class EventCursor(Base):
    """How far a durable reader of the event log has come; moved in the transaction of what it made of the events."""

    __tablename__ = "event_cursors"

    name: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
