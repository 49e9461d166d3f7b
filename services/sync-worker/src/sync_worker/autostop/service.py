"""Stopping sessions that must not go on: the charger is asked once, operators hear when it is no use."""

from datetime import timedelta

import structlog

from polaris_common.charging.chargers import ChargerNotFound
from polaris_common.charging.operations import NewOperation, OperationLogRepository, Source
from polaris_common.charging.session_stops import SessionStopRepository, WantedStop
from polaris_common.db import Database, UnitOfWork
from polaris_common.domain.operation_outcome import NOT_SENT
from polaris_common.events.catalogue import OperatorNotice
from polaris_common.jobs import Jobs

log = structlog.get_logger(__name__)

PATIENCE = timedelta(minutes=5)
"""A session that still runs so long after its stop was wanted is an operator's business."""

PAUSE = timedelta(seconds=15)
"""Between two attempts of which the first certainly never left."""


class AutoStop:
    """Turns wanted stops into remote operations and watches whether they help."""

    def __init__(
        self, database: Database, jobs: Jobs, *, patience: timedelta = PATIENCE, pause: timedelta = PAUSE
    ) -> None:
        self._database, self._jobs = database, jobs
        self._patience, self._pause = patience, pause

    async def sweep(self) -> int:
        """Do what is due about the stops that are open; how many chargers were asked. Killed, it has done nothing."""
        made: dict[int, int] = {}
        async with self._database.unit_of_work() as uow:
            for stop in await SessionStopRepository(uow).open(patience=self._patience, pause=self._pause):
                if not stop.needed:
                    await SessionStopRepository(uow).close(stop)
                    continue
                if _may_ask(stop):
                    await self._ask(uow, stop, made)
                if stop.overdue and not stop.notified:
                    await self._notify(uow, stop)
            if made:
                uow.after_commit(self._jobs.operations)
        return len(made)

    async def _ask(self, uow: UnitOfWork, stop: WantedStop, made: dict[int, int]) -> None:
        """``made``: the operations of this sweep by session; one attempt serves every reason."""
        stops = SessionStopRepository(uow)
        shared = made.get(stop.session_id, None if stop.asked else stop.shared_operation_id)
        if shared is not None:
            await stops.asked(stop, shared)
            return
        try:
            operation = await OperationLogRepository(uow).request(
                NewOperation(
                    charge_box_id=stop.charge_box_id,
                    operation="RemoteStopTransaction",
                    params={"transactionId": stop.transaction_id},
                    source=Source.AUTO_STOP,
                    key=f"auto-stop:{stop.id}:{stop.attempts + 1}",
                    reason=stop.reason,
                )
            )
        except ChargerNotFound:
            return
        await stops.asked(stop, operation.id)
        if not stop.asked:
            _notice(uow, stop, "auto_stop", "warn", stop.reason)
        made[stop.session_id] = operation.id
        log.info("auto_stop", transaction=stop.transaction_id, reason=stop.reason, attempt=stop.attempts + 1)

    async def _notify(self, uow: UnitOfWork, stop: WantedStop) -> None:
        await SessionStopRepository(uow).notified(stop)
        _notice(uow, stop, "auto_stop_failed", "error", stop.outcome or "no_answer")
        log.warning("auto_stop_failed", transaction=stop.transaction_id, reason=stop.reason, outcome=stop.outcome)


def _may_ask(stop: WantedStop) -> bool:
    """Never a second time, unless the first certainly never left."""
    if not stop.asked:
        return True
    return stop.outcome in NOT_SENT and not stop.pausing


def _notice(uow: UnitOfWork, stop: WantedStop, kind: str, severity: str, detail: str) -> None:
    uow.emit(
        OperatorNotice(
            kind=kind, severity=severity, source_type="session", source_id=str(stop.transaction_id), detail=detail
        )
    )
