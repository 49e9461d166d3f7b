"""Running sessions that are to be stopped: noted in the transaction that decides it, carried out by the sync-worker."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from polaris_common.db import Repository
from polaris_common.events.catalogue import Audience, SessionStopWanted
from polaris_common.models import ChargingSession, SessionStop, StopReason

_RUNNING = text("""
SELECT id FROM charging_sessions
WHERE state = 'open' AND tag_mapping_id = ANY(CAST(:mappings AS bigint[])) ORDER BY id
""")

# A card that is good again has taken the reason away. An attempt that another reason has made counts for this one too,
# as long as it may still work.
_OPEN = text("""
SELECT w.id, w.session_id, w.reason, w.attempts, w.operation_id, w.asked_at, w.notified_at,
    s.state = 'open' AND NOT (w.reason = 'subscription_terminated' AND coalesce(m.is_active, false)) AS needed,
    s.steve_transaction_id, s.charge_box_id, o.outcome,
    w.requested_at < now() - CAST(:patience AS interval) AS overdue,
    w.asked_at > now() - CAST(:pause AS interval) AS pausing,
    (SELECT max(other.operation_id) FROM session_stops AS other
     WHERE other.session_id = w.session_id AND other.id <> w.id
       AND other.asked_at > now() - CAST(:patience AS interval)) AS shared_operation_id
FROM session_stops AS w
JOIN charging_sessions AS s ON s.id = w.session_id
LEFT JOIN tag_mappings AS m ON m.id = s.tag_mapping_id
LEFT JOIN charger_operation_log AS o ON o.id = w.operation_id
WHERE w.closed_at IS NULL
  AND (s.state <> 'open' OR w.operation_id IS NULL OR w.notified_at IS NULL OR o.outcome IN ('unreachable', 'expired'))
ORDER BY w.asked_at NULLS FIRST, w.id LIMIT 100
FOR NO KEY UPDATE OF w, s SKIP LOCKED
""")


@dataclass(frozen=True)
class WantedStop:
    """A stop that is still open, with what is known of its session and of the latest attempt."""

    id: int
    session_id: int
    reason: str
    attempts: int
    operation_id: int | None
    asked: bool
    notified: bool
    needed: bool
    """The session runs, and the reason still stands."""
    transaction_id: int
    charge_box_id: str
    outcome: str | None
    overdue: bool
    pausing: bool
    """The latest attempt is so fresh that the next one must wait."""
    shared_operation_id: int | None
    """A recent attempt on the same session for another reason."""


class SessionStopRepository(Repository[SessionStop]):
    """Every query on wanted stops."""

    model = SessionStop

    async def want(self, session_id: int, reason: StopReason) -> bool:
        """Note that a session is to be stopped, and say so; False when that is wanted for this reason already."""
        new = await self.uow.session.scalar(
            insert(SessionStop)
            .values(session_id=session_id, reason=reason.value)
            .on_conflict_do_nothing(constraint="session_stops_session_reason_key")
            .returning(SessionStop.id)
        )
        if new is None:
            return False
        session = (
            await self.uow.session.execute(select(ChargingSession).where(ChargingSession.id == session_id))
        ).scalar_one()
        self.uow.emit(
            SessionStopWanted(
                audience=Audience.operators_and(session.user_id),
                session_id=session.id,
                transaction_id=session.steve_transaction_id,
                charge_box_id=session.charge_box_id,
                connector_id=session.connector_id,
                user_mapping_id=session.tag_mapping_id,
                reason=reason.value,
            )
        )
        return True

    async def want_of_cards(self, mappings: list[int], reason: StopReason) -> int:
        """Every running session of these mappings is to be stopped, inherited ones included; how many are new."""
        running = list((await self.uow.execute(_RUNNING, {"mappings": mappings})).scalars())
        return sum([await self.want(session_id, reason) for session_id in running])

    async def open(self, *, patience: timedelta, pause: timedelta) -> list[WantedStop]:
        """The open stops about which something may be to do, locked, without those that another worker holds."""
        rows = (await self.uow.execute(_OPEN, {"patience": patience, "pause": pause})).all()
        return [
            WantedStop(
                id=row.id,
                session_id=row.session_id,
                reason=row.reason,
                attempts=row.attempts,
                operation_id=row.operation_id,
                asked=row.asked_at is not None,
                notified=row.notified_at is not None,
                needed=row.needed,
                transaction_id=row.steve_transaction_id,
                charge_box_id=row.charge_box_id,
                outcome=row.outcome,
                overdue=row.overdue,
                pausing=bool(row.pausing),
                shared_operation_id=row.shared_operation_id,
            )
            for row in rows
        ]

    async def asked(self, stop: WantedStop, operation_id: int) -> None:
        """An attempt is under way."""
        await self._set(stop.id, operation_id=operation_id, attempts=stop.attempts + 1, asked_at=func.now())

    async def notified(self, stop: WantedStop) -> None:
        """Operators know that the session goes on."""
        await self._set(stop.id, notified_at=func.now())

    async def close(self, stop: WantedStop) -> None:
        """The session has ended, or may go on; nothing is left to do."""
        await self._set(stop.id, closed_at=func.now())

    async def _set(self, stop_id: int, **values: object) -> None:
        await self.uow.execute(
            update(SessionStop)
            .where(SessionStop.id == stop_id)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
