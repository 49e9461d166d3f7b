"""Sync runs on the wire: one shape wherever a run is shown."""

from typing import Any, Self

from gateway.lists import Leaf, Listed
from gateway.wire import Wire, WireTime
from polaris_common.models import SegmentStatus, SyncRun, SyncRunLog, SyncRunSegment, SyncRunStatus


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
