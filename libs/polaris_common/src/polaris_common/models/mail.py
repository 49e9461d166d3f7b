"""Mails on their way out."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from polaris_common.models.base import Base, CreatedAt


class OutgoingMail(Base):
    """A mail that is to be sent once; what it says is forgotten as soon as it is sent."""

    __tablename__ = "outgoing_mails"
    __table_args__ = (
        Index("outgoing_mails_due_idx", "next_attempt_at", postgresql_where="sent_at IS NULL AND dead_at IS NULL"),
        Index("outgoing_mails_created_idx", "created_at"),
        Index(
            "outgoing_mails_handed_idx",
            text("lower(recipient)"),
            "category",
            "handed_at",
            postgresql_where="handed_at IS NOT NULL",
        ),
        Index("outgoing_mails_dead_idx", "dead_at", postgresql_where="dead_at IS NOT NULL"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    recipient: Mapped[str]
    category: Mapped[str]
    template: Mapped[str]
    context: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    locale: Mapped[str | None]
    """The recipient's; NULL: the installation's."""
    time_zone: Mapped[str | None]
    """The recipient's; NULL: the installation's."""
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[CreatedAt]
    handed_at: Mapped[datetime | None]
    """When it was last handed to the transport, which may have counted it."""
    last_error: Mapped[str | None]
    """Why the last try failed; names no address."""
    sent_at: Mapped[datetime | None]
    dead_at: Mapped[datetime | None]
    """When it was given up."""
    created_at: Mapped[CreatedAt]
