"""What the platform under every request keeps: idempotency keys and feature flags."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from polaris_common.models.base import Base, CreatedAt


class IdempotencyKey(Base):
    """One mutation that its caller may send again: what it asked, whether it was done, what was answered."""

    __tablename__ = "idempotency_keys"

    principal: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    """Method and route template."""
    key_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    """SHA-256 of the header."""
    body_hash: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 of the path, the query and the body."""
    attempt: Mapped[int] = mapped_column(server_default=text("1"))
    """Who holds the lease: a later attempt takes it from an earlier one."""
    lease_until: Mapped[datetime]
    """Until then the attempt is taken to be at work."""
    carried_out: Mapped[bool] = mapped_column(server_default=text("false"))
    """Set in the transaction of the mutation itself."""
    status: Mapped[int | None]
    """Of the final answer; null while there is none, or none that may be kept."""
    answer: Mapped[bytes | None] = mapped_column(LargeBinary)
    media_type: Mapped[str | None]
    created_at: Mapped[CreatedAt] = mapped_column(index=True)


class GlobalFeatureFlagValue(Base):
    """A feature flag's value for everybody."""

    __tablename__ = "global_feature_flag_values"

    flag_key: Mapped[str] = mapped_column(primary_key=True)
    value_json: Mapped[Any] = mapped_column(JSONB)
    updated_at: Mapped[CreatedAt]
    updated_by: Mapped[str]
    """``admin:{user id}``."""


class UserFeatureFlagValue(Base):
    """A feature flag's value for one person."""

    __tablename__ = "user_feature_flag_values"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    flag_key: Mapped[str] = mapped_column(primary_key=True)
    value_json: Mapped[Any] = mapped_column(JSONB)
    updated_at: Mapped[CreatedAt]
    updated_by: Mapped[str]


class DeviceFeatureFlagOverride(Base):
    """A feature flag's value on one device. Devices are phones, tablets and laptops; chargers are none."""

    __tablename__ = "device_feature_flag_overrides"

    device_id: Mapped[UUID] = mapped_column(ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True)
    flag_key: Mapped[str] = mapped_column(primary_key=True)
    value_json: Mapped[Any] = mapped_column(JSONB)
    updated_at: Mapped[CreatedAt]
    updated_by: Mapped[str]
