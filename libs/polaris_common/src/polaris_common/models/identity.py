"""People and their sign-ins."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from polaris_common.models.base import Base, CreatedAt


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
        Index("users_email_lower_key", text("lower(email)"), unique=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    public_id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str | None]
    email: Mapped[str | None]
    role: Mapped[str] = mapped_column(server_default=Role.CUSTOMER)
    lago_customer_external_id: Mapped[str | None] = mapped_column(unique=True)
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
    ip_address: Mapped[str | None]
    user_agent: Mapped[str | None]
