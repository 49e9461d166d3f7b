"""Chargers, tags, mappings, charging sessions and what the meters said."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from polaris_common.domain.session_state import State
from polaris_common.models.base import Base, BigId, CreatedAt, Wh


class Charger(Base):
    """A charge box as SteVe knows it."""

    __tablename__ = "chargers"

    charge_box_id: Mapped[str] = mapped_column(primary_key=True)
    charge_box_pk: Mapped[int | None]
    public_id: Mapped[str] = mapped_column(unique=True)
    friendly_name: Mapped[str | None]
    first_seen_at: Mapped[CreatedAt]
    last_seen_at: Mapped[CreatedAt]
    """When a sync last found it in SteVe."""
    gone_at: Mapped[datetime | None]
    """When a complete list from SteVe no longer had it."""


class ChargerConnector(Base):
    """A connector that has been observed on a charge box."""

    __tablename__ = "charger_connectors"

    charge_box_id: Mapped[str] = mapped_column(
        ForeignKey("chargers.charge_box_id", ondelete="CASCADE"), primary_key=True
    )
    connector_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    status: Mapped[str | None]
    status_at: Mapped[datetime | None]
    first_seen_at: Mapped[CreatedAt]


class TagChange(Base):
    """The log of every change that we made, or saw, to a tag in SteVe."""

    __tablename__ = "tag_change_log"
    __table_args__ = (
        CheckConstraint(
            "change_type IN ('created', 'activated', 'deactivated', 'updated')", name="tag_change_log_type_check"
        ),
        Index("tag_change_log_detected_idx", text("detected_at DESC")),
    )

    id: Mapped[BigId]
    ocpp_tag_pk: Mapped[int | None]
    id_tag: Mapped[str] = mapped_column(index=True)
    change_type: Mapped[str]
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    reason: Mapped[str | None]
    sync_run_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("sync_runs.id", ondelete="SET NULL"))
    detected_at: Mapped[CreatedAt]


class OcppTag(Base):
    """The mirror of one SteVe tag."""

    __tablename__ = "ocpp_tags"
    __table_args__ = (
        Index("ocpp_tags_id_tag_lower_key", text("lower(id_tag)"), unique=True, postgresql_where="deleted_at IS NULL"),
    )

    ocpp_tag_pk: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id_tag: Mapped[str]
    parent_id_tag: Mapped[str | None]
    max_active_transaction_count: Mapped[int]
    """0 = blocked, -1 = unlimited, n = concurrent transactions."""
    expiry_date: Mapped[datetime | None]
    note: Mapped[str | None]
    deleted_at: Mapped[datetime | None]
    """When a sync no longer found it in SteVe."""


class TagType(StrEnum):
    """What carries the idTag."""

    EV_CARD = "ev_card"
    KEYTAG = "keytag"
    APP = "app"
    META = "meta"


class TagMapping(Base):
    """Whose tag it is and who pays for it. Tags without a mapping inherit their parent's."""

    __tablename__ = "tag_mappings"
    __table_args__ = (
        CheckConstraint("tag_type IN ('ev_card', 'keytag', 'app', 'meta')", name="tag_mappings_tag_type_check"),
        CheckConstraint("billing_tier IN ('standard', 'comped')", name="tag_mappings_billing_tier_check"),
        CheckConstraint(
            "deactivation_reason IN ('reported_lost', 'operator', 'subscription_terminated', 'expired')",
            name="tag_mappings_deactivation_reason_check",
        ),
        Index("tag_mappings_id_tag_lower_key", text("lower(id_tag)"), unique=True),
        Index("tag_mappings_sync_due_idx", "id", postgresql_where="synced_revision < revision"),
    )

    id: Mapped[BigId]
    ocpp_tag_pk: Mapped[int | None] = mapped_column(unique=True)
    id_tag: Mapped[str]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    lago_customer_external_id: Mapped[str | None] = mapped_column(index=True)
    lago_subscription_external_id: Mapped[str | None]
    """Set: this subscription pays. Unset: the customer's active one."""
    display_name: Mapped[str | None]
    tag_type: Mapped[str] = mapped_column(server_default=TagType.EV_CARD)
    billing_tier: Mapped[str] = mapped_column(server_default="standard")
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    deactivation_reason: Mapped[str | None]
    """Why it is inactive: only what switched a card off for that reason switches it on again."""
    deactivated_at: Mapped[datetime | None]
    revision: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    """Grows, by trigger, with every change that the tag's limit in SteVe may depend on."""
    synced_revision: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """The revision that the sync-worker has looked at; smaller than ``revision`` = due."""
    told_revision: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """The revision that operators were told SteVe has not taken."""
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    """Set by the same trigger."""


class DeactivationReason(StrEnum):
    """Why a mapping is inactive."""

    REPORTED_LOST = "reported_lost"
    OPERATOR = "operator"
    SUBSCRIPTION_TERMINATED = "subscription_terminated"
    EXPIRED = "expired"


class ChargingSession(Base):
    """One OCPP transaction. Written by the sync-worker through ``ChargingSessionRepository`` alone."""

    __tablename__ = "charging_sessions"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'stopped', 'settled', 'quarantined')", name="charging_sessions_state_check"),
        CheckConstraint(
            "(state = 'quarantined') = (quarantine_reason IS NOT NULL)", name="charging_sessions_quarantine_check"
        ),
        CheckConstraint(
            "state <> 'settled' OR (start_wh IS NOT NULL AND stop_wh >= start_wh AND stopped_at IS NOT NULL)",
            name="charging_sessions_settled_check",
        ),
        Index("charging_sessions_user_idx", "user_id", text("started_at DESC"), text("id DESC")),
        Index("charging_sessions_unsettled_idx", "id", postgresql_where="state IN ('open', 'stopped')"),
        Index("charging_sessions_billing_due_idx", "id", postgresql_where="billed_revision < revision"),
        Index("charging_sessions_ownerless_idx", "id_tag", postgresql_where="tag_mapping_id IS NULL"),
        Index("charging_sessions_connector_idx", "charge_box_id", "connector_id", "started_at"),
        Index("charging_sessions_open_idx", "charge_box_id", postgresql_where="state = 'open'"),
        Index(
            "charging_sessions_followed_idx",
            "steve_transaction_id",
            postgresql_where="vanished_at IS NULL AND (stopped_at IS NULL OR stop_actor = 'manual')",
        ),
        Index(
            "charging_sessions_former_idx",
            "former_transaction_id",
            postgresql_where="former_transaction_id IS NOT NULL",
        ),
        Index("charging_sessions_present_idx", "steve_transaction_id", postgresql_where="vanished_at IS NULL"),
    )

    id: Mapped[BigId]
    steve_transaction_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    """SteVe's id; the negative of our own once SteVe has used its id again for another charge."""
    former_transaction_id: Mapped[int | None] = mapped_column(BigInteger)
    """The id that SteVe had given it, and uses for another charge by now."""
    charge_box_id: Mapped[str]
    connector_id: Mapped[int]
    id_tag: Mapped[str]
    started_at: Mapped[datetime]
    start_wh: Mapped[Wh | None]
    """The register at the start; None when SteVe's text cannot be read."""
    stopped_at: Mapped[datetime | None]
    stop_wh: Mapped[Wh | None]
    stop_reason: Mapped[str | None]
    stop_actor: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default=State.OPEN)
    quarantine_reason: Mapped[str | None]
    settle_after: Mapped[datetime | None]
    """When a manual stop counts as final unless the station's own stop arrives first."""
    tag_mapping_id: Mapped[int | None] = mapped_column(ForeignKey("tag_mappings.id", ondelete="SET NULL"))
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    vanished_at: Mapped[datetime | None]
    """When SteVe no longer had it; our history stays."""
    revision: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    """Grows with every change that billing must look at."""
    billed_revision: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """The revision that billing has looked at; smaller than ``revision`` = due."""
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class MeterReading(Base):
    """One sampled value, stored once however often it arrives. Partitioned by the station's time."""

    __tablename__ = "meter_readings"
    __table_args__ = ({"postgresql_partition_by": "RANGE (sampled_at)"},)

    steve_transaction_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    sampled_at: Mapped[datetime] = mapped_column(primary_key=True)
    measurand: Mapped[str] = mapped_column(primary_key=True)
    phase: Mapped[str] = mapped_column(primary_key=True, server_default="")
    location: Mapped[str] = mapped_column(primary_key=True, server_default="")
    context: Mapped[str] = mapped_column(primary_key=True, server_default="")
    unit: Mapped[str] = mapped_column(primary_key=True, server_default="")
    value: Mapped[str]
    """As the station sent it."""
    register_wh: Mapped[Wh | None]
    """Set when this is the session's energy register and its value can be read."""
    received_at: Mapped[CreatedAt]


class LiveMeter(Base):
    """The latest reading of each transaction, for screens and as billing's list of what has moved."""

    __tablename__ = "live_meters"
    __table_args__ = (
        Index(
            "live_meters_billing_due_idx",
            "steve_transaction_id",
            postgresql_where="billed_revision < revision",
        ),
    )

    steve_transaction_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    charge_box_id: Mapped[str]
    connector_id: Mapped[int]
    sampled_at: Mapped[datetime]
    register_wh: Mapped[Wh | None]
    power_w: Mapped[int | None]
    received_at: Mapped[CreatedAt]
    revision: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    billed_revision: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class TapDecision(Base):
    """What SteVe was told about a tag, and why; kept for a month. The tag's number is kept nowhere in it."""

    __tablename__ = "tap_decisions"
    __table_args__ = (
        Index("tap_decisions_decided_idx", "decided_at"),
        Index("tap_decisions_box_idx", "charge_box_id", "id"),
        Index("tap_decisions_tag_idx", "id_tag_hash", "id"),
    )

    id: Mapped[BigId]
    decided_at: Mapped[datetime]
    charge_box_id: Mapped[str]
    connector_id: Mapped[int | None]
    is_start: Mapped[bool]
    id_tag_hash: Mapped[bytes] = mapped_column(LargeBinary)
    """Keyed: equal tags have equal hashes, and nobody without our secret can try tags against it."""
    tag_mapping_id: Mapped[int | None] = mapped_column(BigInteger)
    """The mapping that answered for the tag; no reference, because the mapping may go."""
    blocked: Mapped[bool]
    reason: Mapped[str]
    latency_us: Mapped[int]
    """From the whole request to its answer."""
