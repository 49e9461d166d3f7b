"""The event log: the outbox that services append to and the relay numbers."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from polaris_common.models.base import Base


class DomainEventRow(Base):
    """One thing that happened. Partitioned by time; kept 7 days."""

    __tablename__ = "domain_events"
    __table_args__ = (
        Index("domain_events_seq_idx", "seq"),
        Index("domain_events_unnumbered_idx", "created_at", postgresql_where="seq IS NULL"),
        {"postgresql_partition_by": "RANGE (created_at)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    created_at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.clock_timestamp())
    """``clock_timestamp()``: events of one transaction keep their order."""
    seq: Mapped[int | None] = mapped_column(BigInteger)
    """Set by the relay, in commit order, without gaps."""
    type: Mapped[str]
    audience: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)


class EventRelay(Base):
    """The last number the relay has given; one row."""

    __tablename__ = "event_relay"
    __table_args__ = (CheckConstraint("id = 1", name="event_relay_single_check"),)

    id: Mapped[int] = mapped_column(primary_key=True, server_default=text("1"), autoincrement=False)
    last_seq: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
