"""Reservation upkeep: the charger is asked shortly before the start; what the driver and time make of it is noted."""

from datetime import timedelta
from typing import Any

import structlog

from polaris_common.charging.chargers import ChargerNotFound
from polaris_common.charging.operations import NewOperation, OperationLogRepository, Source
from polaris_common.charging.reservations import ReservationRepository, changed
from polaris_common.db import Database, UnitOfWork
from polaris_common.domain.operations import expiry_text
from polaris_common.domain.reservation_upkeep import Booked, Do, upkeep
from polaris_common.events.catalogue import OperatorNotice
from polaris_common.jobs import Jobs
from sync_worker.reservations.repository import Due, due_reservations

log = structlog.get_logger(__name__)

CHUNK = 200
LEAD = timedelta(minutes=5)
WITHOUT_CHARGER = timedelta(minutes=5)
"""A charge box that is gone is looked for again so much later."""

_TELL_OPERATORS = frozenset({"unsupported", "unknown", "left"})
"""What a charger's part in a reservation may come to that people must know."""


class ReservationUpkeep:
    """Keeps reservations and chargers in step."""

    def __init__(self, database: Database, jobs: Jobs, *, lead: timedelta = LEAD) -> None:
        self._database, self._jobs, self._lead = database, jobs, lead

    async def sweep(self) -> int:
        """Take every reservation one step further; how many changed. Killed, it has done whole steps only."""
        changed_ones, after = 0, 0
        while True:
            async with self._database.unit_of_work() as uow:
                found = await due_reservations(uow, lead=self._lead, after=after, limit=CHUNK)
                for due in found:
                    changed_ones += await self._step(uow, due)
            if len(found) < CHUNK:
                return changed_ones
            after = found[-1].id

    async def _step(self, uow: UnitOfWork, due: Due) -> bool:
        step = upkeep(due.booked, now=due.now, lead=self._lead, answer=due.answer, session=due.session)
        if step.booked == due.booked:
            return False
        booked, operation_id = step.booked, due.operation_id
        if step.do is not Do.NOTHING:
            try:
                operation_id = await self._ask(uow, due, step.do, booked)
            except ChargerNotFound:
                await self._postpone(uow, due)
                return True
        await self._write(uow, due, booked, operation_id)
        return True

    async def _ask(self, uow: UnitOfWork, due: Due, what: Do, booked: Booked) -> int:
        """Each request follows the last one in its key, so a repeated step is the same request."""
        name, params = _request(due, what, booked)
        operation = await OperationLogRepository(uow).request(
            NewOperation(
                charge_box_id=due.charge_box_id,
                operation=name,
                params=params,
                source=Source.RESERVATION,
                key=f"reservation:{due.id}:{due.operation_id or 0}",
                reason=f"reservation {due.id}",
            )
        )
        uow.after_commit(self._jobs.operations)
        return operation.id

    async def _write(self, uow: UnitOfWork, due: Due, booked: Booked, operation_id: int | None) -> None:
        row = await ReservationRepository(uow).locked(due.id)
        row.status, row.hold, row.reason = booked.status, booked.hold, booked.reason
        row.held_until, row.steve_reservation_id = booked.held_until, booked.reservation_id
        row.attempts, row.next_attempt_at = booked.attempts, booked.next_attempt_at
        row.session_id, row.operation_id = booked.session_id, operation_id
        if booked.status != due.booked.status:
            uow.emit(changed(row))
        if booked.hold != due.booked.hold:
            log.info("reservation", reservation=due.id, status=booked.status, hold=booked.hold)
            if booked.hold in _TELL_OPERATORS:
                uow.emit(_notice(due.id, booked.hold))

    async def _postpone(self, uow: UnitOfWork, due: Due) -> None:
        row = await ReservationRepository(uow).locked(due.id)
        row.next_attempt_at = due.now + WITHOUT_CHARGER


def _request(due: Due, what: Do, booked: Booked) -> tuple[str, dict[str, Any]]:
    if what is Do.RELEASE:
        return "CancelReservation", {"reservationId": booked.reservation_id}
    expiry = expiry_text(booked.end_at)
    return "ReserveNow", {"connectorId": due.connector_id, "expiry": expiry, "idTag": due.id_tag}


def _notice(reservation_id: int, hold: str) -> OperatorNotice:
    return OperatorNotice(
        kind="reservation_not_held",
        severity="warn",
        source_type="reservation",
        source_id=str(reservation_id),
        detail=hold,
    )
