"""Sync runs on the wire: one shape wherever a run is shown."""

from datetime import timedelta
from typing import Any, Self

from pydantic import Field

from gateway.lists import Leaf, Listed
from gateway.wire import Wire, WireTime
from polaris_common.charging.schedule import MAX_PIN
from polaris_common.domain.cadence import Tier
from polaris_common.models import SegmentStatus, SyncRun, SyncRunLog, SyncRunSegment, SyncRunStatus

MAX_PIN_HOURS = MAX_PIN // timedelta(hours=1)


class SyncRunRead(Wire):
    """A run; its counters are of transactions, and final once it has ended."""

    id: int
    trigger: str
    status: SyncRunStatus
    requested_at: WireTime
    started_at: WireTime | None
    completed_at: WireTime | None
    cancel_requested_at: WireTime | None
    transactions_seen: int
    transactions_new: int
    transactions_changed: int
    error: str | None
    """A code."""

    @classmethod
    def of(cls, run: SyncRun) -> Self:
        """One row."""
        return cls.model_validate(run, from_attributes=True)


class SyncRunList(Listed[SyncRunRead]):
    """Runs, the latest first."""


class SyncSegmentRead(Wire):
    """One part of a run; its counters move while it works."""

    segment: str
    status: SegmentStatus
    seen: int
    new: int
    changed: int
    held: int
    failed: int
    started_at: WireTime
    completed_at: WireTime | None

    @classmethod
    def of(cls, segment: SyncRunSegment) -> Self:
        """One row."""
        return cls.model_validate(segment, from_attributes=True)


class SyncRunDetail(Wire):
    """A run with its parts, in the order in which they began."""

    run: SyncRunRead
    segments: list[SyncSegmentRead]


class SyncLogRead(Wire):
    """One line of a run's log."""

    id: int
    segment: str
    level: str
    message: str
    context: dict[str, Any] | None
    created_at: WireTime

    @classmethod
    def of(cls, line: SyncRunLog) -> Self:
        """One row."""
        return cls.model_validate(line, from_attributes=True)


class SyncLogPage(Leaf[SyncLogRead]):
    """Part of a run's log, the latest line first; ``next_cursor`` leads to what is older, null at the end."""


class SyncRunRequested(Wire):
    """The run that a trigger asked for; triggers that wait together are one."""

    message: str
    sync_run_id: int


class SyncStateRead(Wire):
    """How often SteVe is looked at now, and why."""

    current_tier: Tier
    """The tier that counts: the pinned one, or the fleet's."""
    fleet_tier: Tier
    pinned_tier: Tier | None
    """Null when no pin is in force."""
    pinned_until: WireTime | None
    next_run_at: WireTime | None
    last_activity_at: WireTime | None
    last_evaluated_at: WireTime | None
    consecutive_idle_ticks: int
    recent_transitions: list[SyncLogRead]


class TierPin(Wire):
    """Hold the fleet at a tier for some hours."""

    tier: Tier
    hours: int = Field(ge=1, le=MAX_PIN_HOURS)


class TierPinned(Wire):
    """The pin that is in force now."""

    message: str
    tier: Tier
    hours: int
    pinned_until: WireTime


class PinCleared(Wire):
    """The cadence decides again."""

    message: str
