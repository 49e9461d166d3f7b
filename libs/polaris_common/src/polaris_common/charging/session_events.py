"""The domain events of charging sessions."""

from typing import Any
from uuid import UUID

from polaris_common.charging.session_changes import KnownSession
from polaris_common.clock import to_wire
from polaris_common.domain.session_state import State
from polaris_common.energy import kwh_text
from polaris_common.events.catalogue import Audience, DomainEvent, SessionQuarantined, SessionStarted, SessionStopped
from polaris_common.events.live import TagSeen


def started(session: KnownSession) -> DomainEvent:
    """A car began to charge."""
    return SessionStarted(**_common(session, session.user_id), started_at=to_wire(session.started_at))


def tag_seen(session: KnownSession) -> DomainEvent:
    """A card was used to begin a session."""
    return TagSeen(id_tag=session.id_tag, charge_box_id=session.charge_box_id, seen_at=to_wire(session.started_at))


def ended(session: KnownSession) -> DomainEvent | None:
    """Charging ended, or the session cannot be believed; None while it goes on."""
    if session.state == State.QUARANTINED:
        return SessionQuarantined(**_common(session, None), reason=session.quarantine_reason or "unknown")
    if session.stopped_at is None or session.stop_wh is None or session.start_wh is None:
        return None
    energy = session.stop_wh - session.start_wh
    return SessionStopped(
        **_common(session, session.user_id),
        stopped_at=to_wire(session.stopped_at),
        energy_wh=energy,
        energy_kwh=kwh_text(energy),
        stop_reason=session.stop_reason,
        final=session.state == State.SETTLED,
    )


def _common(session: KnownSession, user_id: UUID | None) -> dict[str, Any]:
    return {
        "audience": Audience.operators_and(user_id),
        "session_id": session.id,
        "transaction_id": session.steve_transaction_id,
        "charge_box_id": session.charge_box_id,
        "connector_id": session.connector_id,
        "user_mapping_id": session.tag_mapping_id,
    }
