"""What operators' screens show live besides sessions: connectors, cards and sync runs."""

from typing import ClassVar

from polaris_common.events.catalogue import OPERATORS, PUBLIC, Audience, DomainEvent


class ChargerStateChanged(DomainEvent):
    """A connector's observed status is another one now. Every driver may know it: whether a charger is free."""

    type: ClassVar[str] = "charger.state"
    audience: Audience = Audience((PUBLIC,))
    charge_box_id: str
    status: str
    """In OCPP's words: ``Available``, ``Charging`` or ``Unavailable``."""
    connector_id: int | None = None
    updated_at: str


class TagSeen(DomainEvent):
    """A card was used at a charger, or read by a device (then without a charge box)."""

    type: ClassVar[str] = "tag.seen"
    shows_null: ClassVar[bool] = True
    audience: Audience = Audience((OPERATORS,))
    id_tag: str
    charge_box_id: str | None = None
    seen_at: str


class SyncStarted(DomainEvent):
    """A sync run has begun."""

    type: ClassVar[str] = "sync.started"
    audience: Audience = Audience((OPERATORS,))
    sync_run_id: int
    trigger: str


class SyncProgress(DomainEvent):
    """How far a segment of a run has come."""

    type: ClassVar[str] = "sync.progress"
    audience: Audience = Audience((OPERATORS,))
    sync_run_id: int
    segment: str
    status: str
    """``models.SegmentStatus``."""
    seen: int
    new: int
    changed: int
    held: int
    failed: int


class SyncCompleted(DomainEvent):
    """A run is over, however it went."""

    type: ClassVar[str] = "sync.completed"
    audience: Audience = Audience((OPERATORS,))
    sync_run_id: int
    status: str
    """``completed``, ``failed`` or ``cancelled``."""
    transactions_processed: int
    events_created: int
    """Events for Lago that came to be while it ran."""
    error_count: int
    """Segments that went wrong; at least 1 when the run failed."""
    error: str | None = None
    """A code."""
