"""Every domain event, who may see it and what it says.

``type`` is the name on the wire (the SSE event name); the payload is the camelCase JSON that clients get.
"""

from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

OPERATORS = "operators"
PUBLIC = "public"


def user_audience(user_id: UUID) -> str:
    """The audience that is one person."""
    return f"user:{user_id}"


@dataclass(frozen=True)
class Audience:
    """Who may see an event; nobody else does."""

    names: tuple[str, ...]

    @classmethod
    def operators_and(cls, user_id: UUID | None) -> "Audience":
        """Operators, and the driver when there is one."""
        return cls((OPERATORS,) if user_id is None else (OPERATORS, user_audience(user_id)))


class DomainEvent(BaseModel):
    """The base of all events: immutable, camelCase on the wire, ``audience`` beside the payload."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    type: ClassVar[str]
    audience: Audience

    def payload(self) -> dict[str, Any]:
        """The JSON object that goes to clients."""
        return self.model_dump(mode="json", by_alias=True, exclude={"audience"}, exclude_none=True)


class SessionEvent(DomainEvent):
    """What all events about one charging session carry."""

    session_id: int
    transaction_id: int
    charge_box_id: str
    connector_id: int
    user_mapping_id: int | None = None


class SessionStarted(SessionEvent):
    """A car began to charge."""

    type: ClassVar[str] = "session.started"
    started_at: str


class SessionStopped(SessionEvent):
    """Charging ended. ``final`` is False while the stop value may still change."""

    type: ClassVar[str] = "session.stopped"
    stopped_at: str
    energy_wh: int
    energy_kwh: str
    stop_reason: str | None = None
    final: bool


class SessionQuarantined(SessionEvent):
    """A session is not believable and waits for an operator; drivers are not told the reason."""

    type: ClassVar[str] = "session.quarantined"
    reason: str


class SessionBilled(SessionEvent):
    """Lago has accepted energy of a session; ``billed_wh`` is the session's total so far."""

    type: ClassVar[str] = "transaction.billing"
    billed_wh: int
    billed_kwh: str
    lago_event_transaction_id: str
    flushed_at: str
    is_reconciliation: bool
    """True when this completes the session's bill."""
