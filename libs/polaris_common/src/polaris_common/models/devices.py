"""Registered devices, printed QR cards, and pairings: requests that a device or charger should read one card."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from polaris_common.models.base import Base, BigId, CreatedAt


class DeviceKind(StrEnum):
    """What a device is."""

    PHONE_NFC = "phone_nfc"
    TABLET_NFC = "tablet_nfc"
    LAPTOP_NFC = "laptop_nfc"


class AppDevice(Base):
    """A phone, tablet or laptop with the app, registered for its owner."""

    __tablename__ = "devices"
    __table_args__ = (
        CheckConstraint("kind IN ('phone_nfc', 'tablet_nfc', 'laptop_nfc')", name="devices_kind_check"),
        CheckConstraint("apns_environment IN ('sandbox', 'production')", name="devices_apns_environment_check"),
        CheckConstraint(
            "capabilities <@ ARRAY['scanner', 'user', 'kiosk', 'managed'] AND cardinality(capabilities) > 0",
            name="devices_capabilities_check",
        ),
        CheckConstraint(
            "NOT 'kiosk' = ANY(capabilities) OR ('scanner' = ANY(capabilities)) <> ('user' = ANY(capabilities))",
            name="devices_kiosk_check",
        ),
        Index(
            "devices_owner_idx",
            "owner_user_id",
            text("last_seen_at DESC"),
            postgresql_where="deleted_at IS NULL",
        ),
        Index(
            "devices_capabilities_idx", "capabilities", postgresql_using="gin", postgresql_where="deleted_at IS NULL"
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    kind: Mapped[str] = mapped_column(server_default=DeviceKind.PHONE_NFC)
    label: Mapped[str]
    capabilities: Mapped[list[str]] = mapped_column(ARRAY(Text()), server_default=text("'{scanner}'"))
    owner_user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    platform: Mapped[str | None]
    model: Mapped[str | None]
    os_version: Mapped[str | None]
    app_version: Mapped[str | None]
    push_token: Mapped[str | None]
    """As APNs wants it in its address: lower-case hex."""
    apns_environment: Mapped[str | None]
    last_seen_at: Mapped[datetime | None]
    last_status: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """The diagnostics of its last sync."""
    last_location_lat: Mapped[float | None]
    last_location_lon: Mapped[float | None]
    last_location_accuracy_m: Mapped[float | None]
    last_location_at: Mapped[datetime | None]
    registered_at: Mapped[CreatedAt]
    deleted_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revoked_by_user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))


class DeviceToken(Base):
    """A device's credentials: its bearer token as SHA-256, its HMAC secret encrypted."""

    __tablename__ = "device_tokens"
    __table_args__ = (Index("device_tokens_device_idx", "device_id", text("created_at DESC")),)

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    device_id: Mapped[UUID] = mapped_column(ForeignKey("devices.id", ondelete="CASCADE"))
    token_hash: Mapped[str] = mapped_column(unique=True)
    """Lower-case hex SHA-256 of the whole token, ``dev_`` included (contract-devices §1.3)."""
    sealed_secret: Mapped[bytes] = mapped_column(LargeBinary)
    """The HMAC secret under a key of ours, bound to the device."""
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """Kept to within some minutes."""
    created_at: Mapped[CreatedAt]


class QrCard(Base):
    """What is printed on a driver's card. Not the public id itself: it can be replaced, switched off, and expires."""

    __tablename__ = "qr_cards"
    __table_args__ = (
        CheckConstraint("printed_id ~ '^[23456789ABCDEFGHJKMNPQRSTVWXYZ]{8}$'", name="qr_cards_printed_id_check"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    printed_id: Mapped[str] = mapped_column(unique=True)
    issued_at: Mapped[CreatedAt]
    disabled_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class PairableType(StrEnum):
    """What can read a card."""

    CHARGER = "charger"
    DEVICE = "device"


class PairingPurpose(StrEnum):
    """What a read card is for."""

    LOGIN = "login"
    ADMIN_LINK = "admin-link"
    CUSTOMER_LINK = "customer-link"
    VIEW_CARD = "view-card"


class PairingStatus(StrEnum):
    """Where a pairing stands; ``expires_at`` ends it whatever the status."""

    ARMED = "armed"
    MATCHED = "matched"
    """A card was read."""
    CONSUMED = "consumed"
    """Somebody has signed in with it."""
    RELEASED = "released"
    """Given up before its time."""


class Pairing(Base):
    """A request that one charger or device should read one card. One is armed per target at most."""

    __tablename__ = "pairings"
    __table_args__ = (
        CheckConstraint("pairable_type IN ('charger', 'device')", name="pairings_pairable_type_check"),
        CheckConstraint(
            "purpose IN ('login', 'admin-link', 'customer-link', 'view-card')", name="pairings_purpose_check"
        ),
        CheckConstraint("status IN ('armed', 'matched', 'consumed', 'released')", name="pairings_status_check"),
        CheckConstraint(
            "status NOT IN ('matched', 'consumed') OR (matched_id_tag IS NOT NULL AND matched_at IS NOT NULL)",
            name="pairings_matched_check",
        ),
        UniqueConstraint("pairable_type", "target", "code", name="pairings_code_key"),
        Index("pairings_armed_key", "pairable_type", "target", unique=True, postgresql_where="status = 'armed'"),
        Index("pairings_target_idx", "pairable_type", "target", text("created_at DESC")),
        Index("pairings_address_idx", "ip_address", text("created_at DESC")),
    )

    id: Mapped[BigId]
    pairable_type: Mapped[str]
    target: Mapped[str]
    """The charge box id or the device's id."""
    code: Mapped[str]
    purpose: Mapped[str]
    status: Mapped[str] = mapped_column(server_default=PairingStatus.ARMED)
    hint_label: Mapped[str | None]
    armed_by_user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    """The operator; None for a visitor."""
    ip_address: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    matched_id_tag: Mapped[str | None]
    matched_at: Mapped[datetime | None]
    released_by: Mapped[str | None]
    """``admin``, ``device`` or ``customer``."""
