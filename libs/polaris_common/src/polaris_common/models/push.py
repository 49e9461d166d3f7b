"""Pushes on their way out, and what a device's owner has set on it."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from polaris_common.models.base import Base, CreatedAt


class DeviceSetting(Base):
    """One setting of a device (contract-devices §1.16)."""

    __tablename__ = "device_settings"

    device_id: Mapped[UUID] = mapped_column(ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    value_json: Mapped[Any] = mapped_column(JSONB)
    updated_at: Mapped[CreatedAt]
    updated_by: Mapped[str]


class PushKind(StrEnum):
    """What a push is for; there are no others."""

    SCAN_REQUEST = "scan_request"
    """Wake a device to read a card; shown to its owner."""
    LOCATE = "locate"
    """Ask a managed device where it is; silent."""


class OutgoingPush(Base):
    """A push that is handed to Apple at most once, and not at all when its time is over."""

    __tablename__ = "outgoing_pushes"
    __table_args__ = (
        CheckConstraint("kind IN ('scan_request', 'locate')", name="outgoing_pushes_kind_check"),
        CheckConstraint("(kind = 'scan_request') = (pairing_id IS NOT NULL)", name="outgoing_pushes_pairing_check"),
        Index("outgoing_pushes_due_idx", "next_attempt_at", postgresql_where="finished_at IS NULL"),
        Index("outgoing_pushes_created_idx", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    """Also the ``apns-id``, and the correlation id of a locate."""
    device_id: Mapped[UUID] = mapped_column(ForeignKey("devices.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    pairing_id: Mapped[int | None] = mapped_column(ForeignKey("pairings.id", ondelete="CASCADE"), unique=True)
    """One push for each pairing."""
    expires_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]
    """Set before it is sent: one whose sender died is not sent again."""
    outcome: Mapped[str | None]
    """``sent``, ``taken`` (on its way, or lost with its sender), or why it was not sent."""
    created_at: Mapped[CreatedAt]
