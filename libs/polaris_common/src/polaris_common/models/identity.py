"""People and their sign-ins."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from polaris_common.models.base import Base, BigId, CreatedAt


class Role(StrEnum):
    """What a person is; the wire knows ``admin`` and ``customer``."""

    ADMIN = "admin"
    CUSTOMER = "customer"


class User(Base):
    """A person: an operator (``admin``) or a driver (``customer``)."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'customer')", name="users_role_check"),
        CheckConstraint("public_id ~ '^[23456789ABCDEFGHJKMNPQRSTVWXYZ]{8}$'", name="users_public_id_check"),
        CheckConstraint("role = 'admin' OR NOT superadmin", name="users_superadmin_check"),
        Index("users_email_lower_key", text("lower(email)"), unique=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    public_id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str | None]
    email: Mapped[str | None]
    email_verified: Mapped[bool] = mapped_column(server_default=text("false"))
    role: Mapped[str] = mapped_column(server_default=Role.CUSTOMER)
    superadmin: Mapped[bool] = mapped_column(server_default=text("false"))
    """An operator who may also manage operators."""
    lago_customer_external_id: Mapped[str | None] = mapped_column(unique=True)
    onboarded_at: Mapped[datetime | None]
    """When the first-run tour was finished."""
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class Account(Base):
    """One way a person signs in: ``credential`` (password) or an OIDC provider."""

    __tablename__ = "accounts"
    __table_args__ = (UniqueConstraint("provider_id", "account_id", name="accounts_provider_account_key"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    provider_id: Mapped[str]
    account_id: Mapped[str]
    password_hash: Mapped[str | None]
    """argon2id, with its parameters."""
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class AuthSession(Base):
    """A signed-in browser. Only the SHA-256 of its token is stored."""

    __tablename__ = "auth_sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    last_seen_at: Mapped[CreatedAt]
    remembered: Mapped[bool] = mapped_column(server_default=text("true"))
    """Whether the browser keeps the cookie after it is closed; only such sessions slide."""
    browser_hash: Mapped[bytes | None] = mapped_column(LargeBinary, index=True)
    """SHA-256 of the browser's own cookie: the sessions among which one browser may switch."""
    acting_as: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    """The driver whose account an operator views, read-only."""
    acting_until: Mapped[datetime | None]
    ip_address: Mapped[str | None]
    user_agent: Mapped[str | None]


class TokenPurpose(StrEnum):
    """What a one-time token is good for."""

    MAGIC_LINK = "magic_link"
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a purpose, no password
    DEVICE_REGISTRATION = "device_registration"
    QR_CONFIRMATION = "qr_confirmation"
    OIDC_STATE = "oidc_state"


class OneTimeToken(Base):
    """A secret that works once, until it expires. Only its SHA-256 is stored."""

    __tablename__ = "one_time_tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    purpose: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    consumed_at: Mapped[datetime | None]


class AuthAudit(Base):
    """Who signed in, was refused, or used a right; read by operators, kept 90 days."""

    __tablename__ = "auth_audit"
    __table_args__ = (
        Index("auth_audit_event_idx", "event", text("created_at DESC")),
        Index("auth_audit_user_idx", "user_id", text("created_at DESC")),
        Index("auth_audit_created_idx", "created_at"),
    )

    id: Mapped[BigId]
    event: Mapped[str]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    email_hash: Mapped[str | None]
    """Keyed, so that nobody without our secret can test an address against it."""
    ip_address: Mapped[str | None]
    user_agent: Mapped[str | None]
    route: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    created_at: Mapped[CreatedAt]


class ImpersonationAudit(Base):
    """What an operator looked at as a driver: at most one row a minute for each operator, driver and route."""

    __tablename__ = "impersonation_audit"
    __table_args__ = (
        UniqueConstraint("admin_user_id", "customer_user_id", "route", "minute", name="impersonation_audit_minute_key"),
        Index("impersonation_audit_customer_idx", "customer_user_id", text("minute DESC")),
    )

    id: Mapped[BigId]
    admin_user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    customer_user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    route: Mapped[str]
    method: Mapped[str]
    minute: Mapped[datetime]


class SignInFailure(Base):
    """Wrong passwords in a row for one address, known or not: each makes the next try wait longer."""

    __tablename__ = "sign_in_failures"

    subject_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    """Keyed hash of the lower-case address."""
    failures: Mapped[int]
    blocked_until: Mapped[datetime | None]
    updated_at: Mapped[CreatedAt] = mapped_column(index=True)
