"""Releasing a quarantined session: it settles with the energy a person names, and billing takes it from there."""

from datetime import datetime

from polaris_common.books.operator_actions import note_action
from polaris_common.charging.meters import MeterRepository
from polaris_common.charging.session_changes import KnownSession
from polaris_common.charging.sessions import ChargingSessionRepository
from polaris_common.clock import to_wire
from polaris_common.db import UnitOfWork
from polaris_common.domain.session_release import Doubtful, Measured, SetAside, settled_stop
from polaris_common.domain.session_state import State
from polaris_common.events.catalogue import OPERATORS, Audience, SessionReleased
from polaris_common.http.errors import ApiError, NotFound

BY_OPERATOR = "operator"
"""The stop's actor; a stop that SteVe gets later, and that can be believed, still replaces it."""


class SessionNotFound(NotFound):
    """There is no such session."""

    code, message = "session_not_found", "There is no such session."


class SessionNotQuarantined(ApiError):
    """Only a session that was set aside can be released."""

    status, code, message = 409, "session_not_quarantined", "This session is not set aside."


class ReleaseRefused(ApiError):
    """What the session's energy is remains doubtful."""

    status, code = 409, "release_refused"
    message = "What was charged cannot be said from this."


async def release_session(
    uow: UnitOfWork,
    session_id: int,
    *,
    stop_wh: int | None,
    stopped_at: datetime | None = None,
    reason: str,
    actor: str,
) -> KnownSession:
    """Settle a quarantined session at ``stop_wh`` on its register, or (None) as measured; the session as it is then.

    Raises:
        SessionNotFound, SessionNotQuarantined, ReleaseRefused, ReasonMissing: nothing has changed.
    """
    sessions = ChargingSessionRepository(uow)
    session = await sessions.locked(session_id)
    if session is None:
        raise SessionNotFound
    if session.state != State.QUARANTINED or session.quarantine_reason is None:
        raise SessionNotQuarantined
    was = session.quarantine_reason
    transaction = session.steve_transaction_id
    readings = (await MeterRepository(uow).registers([transaction])).get(transaction, [])
    measured = [Measured(reading.wh, reading.sampled_at) for reading in readings]
    aside = SetAside(was, session.started_at, session.start_wh, session.stop_wh, session.stopped_at, measured)
    try:
        stop = settled_stop(aside, stop_wh=stop_wh, stopped_at=stopped_at)
    except Doubtful as doubt:
        raise ReleaseRefused(str(doubt)) from None
    details = {"was": was, "stopWh": stop.wh, "stoppedAt": to_wire(stop.at), "asMeasured": stop_wh is None}
    note_action(uow, "session.release", f"session:{session_id}", actor=actor, reason=reason, details=details)
    settled = session.changed(
        {
            "state": State.SETTLED.value,
            "quarantine_reason": None,
            "stop_wh": stop.wh,
            "stopped_at": stop.at,
            "stop_actor": BY_OPERATOR,
            "settle_after": None,
        }
    )
    await sessions.settle_by_hand(settled)
    uow.emit(
        SessionReleased(
            audience=Audience((OPERATORS,)),
            session_id=session.id,
            transaction_id=transaction,
            charge_box_id=session.charge_box_id,
            connector_id=session.connector_id,
            user_mapping_id=session.tag_mapping_id,
            was=was,
            stop_wh=stop.wh,
            actor=actor,
            reason=reason.strip(),
        )
    )
    return settled
