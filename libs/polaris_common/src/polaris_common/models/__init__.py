"""The tables. Migrations create them; a test keeps both the same."""

from polaris_common.models.base import Base
from polaris_common.models.billing import (
    BillingStatus,
    EnergySlice,
    LagoEvent,
    LagoEventStatus,
    LagoSubscription,
    SessionBilling,
)
from polaris_common.models.charging import (
    Charger,
    ChargingSession,
    LiveMeter,
    MeterReading,
    OcppTag,
    SessionState,
    TagMapping,
    TagType,
)
from polaris_common.models.events import DomainEventRow, EventRelay
from polaris_common.models.identity import Account, AuthSession, Role, User
from polaris_common.models.operations import ComponentHealth, SyncRun, SyncRunStatus

__all__ = [
    "Account",
    "AuthSession",
    "Base",
    "BillingStatus",
    "Charger",
    "ChargingSession",
    "ComponentHealth",
    "DomainEventRow",
    "EnergySlice",
    "EventRelay",
    "LagoEvent",
    "LagoEventStatus",
    "LagoSubscription",
    "LiveMeter",
    "MeterReading",
    "OcppTag",
    "Role",
    "SessionBilling",
    "SessionState",
    "SyncRun",
    "SyncRunStatus",
    "TagMapping",
    "TagType",
    "User",
]
