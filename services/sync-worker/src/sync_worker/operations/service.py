"""Sending remote operations. The row is ``sending`` before the request leaves, so nothing is ever sent twice.

One worker at a time sends, by advisory lock; what it finds as ``sending`` was left by a dead one, and its outcome stays
unknown.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import structlog

from polaris_common.charging.operations import Ended, OperationLogRepository, ToSend
from polaris_common.db import AdvisoryLock, Database, LockName
from polaris_common.domain.operation_outcome import Outcome, read_task
from polaris_common.models import ChargerOperation
from polaris_common.steve import SteveClient, SteveProtocolError, SteveRefused, SteveUnavailable
from polaris_common.steve.operation_calls import SteveNotReached, is_finished, operate, task, task_id_of
from polaris_common.steve.probe import Capabilities
from sync_worker.runs.problems import STEVE_ERRORS, code_of

log = structlog.get_logger(__name__)

AT_ONCE = 8
"""Fewer than the client's connections: chargers that do not answer must not keep the polls waiting."""

LOOK_AGAIN_SECONDS = 0.5
"""While a slow charger is waited for, so often new operations for others are looked for."""

PATIENCE = timedelta(minutes=2)
"""So long a task that SteVe has not finished is asked for again."""

AskCapabilities = Callable[[], Awaitable[Capabilities]]


class RemoteOperations:
    """Carries out what the operation log asks for."""

    def __init__(
        self, database: Database, steve: SteveClient, capabilities: AskCapabilities, *, patience: timedelta = PATIENCE
    ) -> None:
        self._database, self._steve, self._capabilities = database, steve, capabilities
        self._patience = patience

    async def run_due(self) -> bool:
        """Send what waits and look what became of open tasks; False when another worker is at it."""
        async with self._database.unit_of_work() as uow:
            if not await OperationLogRepository(uow).any_open():
                return True
        async with AdvisoryLock(self._database, LockName.OPERATIONS) as lock:
            if not lock.held:
                return False
            await self._give_up_left_behind()
            await self._send_waiting()
            await self._follow_tasks()
        return True

    async def _give_up_left_behind(self) -> None:
        async with self._database.unit_of_work() as uow:
            operations = OperationLogRepository(uow)
            for operation_id in await operations.left_sending():
                await operations.end(operation_id, Ended(Outcome.UNKNOWN, {"error": "worker_died"}))
                log.warning("operation_outcome_unknown", operation=operation_id, reason="worker_died")

    async def _send_waiting(self) -> None:
        """Send until nothing waits; one operation at a time for each charge box, some charge boxes side by side."""
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                running |= {asyncio.create_task(self._send(each)) for each in await self._claim(AT_ONCE - len(running))}
                if not running:
                    return
                done, running = await asyncio.wait(
                    running, timeout=LOOK_AGAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                for each in done:
                    each.result()
        finally:
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _claim(self, limit: int) -> list[ToSend]:
        async with self._database.unit_of_work() as uow:
            operations = OperationLogRepository(uow)
            for operation_id in await operations.overdue():
                await operations.end(operation_id, Ended(Outcome.EXPIRED, {"error": "not_sent_in_time"}))
            return await operations.claim(limit) if limit > 0 else []

    async def _send(self, wanted: ToSend) -> None:
        ended = await self._ask(wanted)
        if ended is None:
            return
        async with self._database.unit_of_work() as uow:
            await OperationLogRepository(uow).end(wanted.id, ended)
        log.info("operation", operation=wanted.id, name=wanted.operation, outcome=ended.outcome.value)

    async def _ask(self, wanted: ToSend) -> Ended | None:
        """One request to SteVe; None when its charger has yet to answer."""
        try:
            capabilities = await self._capabilities()
        except STEVE_ERRORS as problem:
            return _failed(Outcome.UNREACHABLE, code_of(problem))
        if not capabilities.operations:
            return _failed(Outcome.UNSUPPORTED, "steve_too_old")
        try:
            answer = await operate(self._steve, wanted.operation, wanted.charge_box_id, wanted.params)
        except SteveNotReached:
            return _failed(Outcome.UNREACHABLE, "unreachable")
        except SteveRefused as refusal:
            return _refused(refusal)
        except (SteveUnavailable, SteveProtocolError) as lost:
            return _failed(Outcome.UNKNOWN, code_of(lost))
        return await self._read(wanted, answer, capabilities)

    async def _read(self, wanted: ToSend, answer: dict[str, Any], capabilities: Capabilities) -> Ended | None:
        task_id, outcome = task_id_of(answer), read_task(answer, wanted.charge_box_id).outcome
        if outcome is not None:
            return Ended(outcome, answer, task_id)
        if is_finished(answer):
            return Ended(Outcome.UNKNOWN, answer, task_id)
        if task_id is None or not capabilities.tasks:
            return Ended(Outcome.TIMEOUT, answer, task_id)
        async with self._database.unit_of_work() as uow:
            await OperationLogRepository(uow).submitted(wanted.id, task_id=task_id, result=answer)
        return None

    async def _follow_tasks(self) -> None:
        """Ask again for the tasks that SteVe had not finished; an outage leaves them for later."""
        async with self._database.unit_of_work() as uow:
            open_ones = await OperationLogRepository(uow).unanswered(patience=self._patience)
        with suppress(*STEVE_ERRORS):
            for row, late in open_ones:
                await self._follow(row, late=late)

    async def _follow(self, row: ChargerOperation, *, late: bool) -> None:
        if row.task_id is None:
            return
        answer = await task(self._steve, row.task_id)
        outcome = None if answer is None else read_task(answer, row.charge_box_id).outcome
        if outcome is None and (late or answer is None or is_finished(answer)):
            outcome = Outcome.TIMEOUT
        if outcome is not None:
            async with self._database.unit_of_work() as uow:
                await OperationLogRepository(uow).end(row.id, Ended(outcome, answer or row.result, row.task_id))


def _refused(refusal: SteveRefused) -> Ended:
    if refusal.status == HTTPStatus.NOT_FOUND:
        return _failed(Outcome.UNSUPPORTED, "no_such_operation")
    result = {"error": code_of(refusal) if refusal.status != HTTPStatus.BAD_REQUEST else "refused"}
    return Ended(Outcome.REFUSED, result | ({"message": refusal.said} if refusal.said else {}))


def _failed(outcome: Outcome, code: str) -> Ended:
    return Ended(outcome, {"error": code})
