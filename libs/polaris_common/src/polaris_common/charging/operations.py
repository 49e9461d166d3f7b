"""The log of remote operations: a row comes first, the sync-worker sends it once, the outcome is written to it.

Whoever requests an operation enqueues ``Jobs.operations`` after the commit; the sync-worker also finds it by itself, a
few seconds later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from polaris_common.charging.chargers import existing_charge_box
from polaris_common.db import Repository
from polaris_common.domain.operation_outcome import UNCERTAIN, Outcome
from polaris_common.domain.operations import validated
from polaris_common.events.catalogue import Audience, OperationCompleted
from polaris_common.http.errors import ApiError
from polaris_common.models import ChargerOperation, OperationStatus

WANTED_FOR = timedelta(minutes=2)
"""So long somebody who pressed a button expects something to happen; afterwards it would only surprise."""

OPEN = (OperationStatus.PENDING, OperationStatus.SENDING, OperationStatus.SUBMITTED)

_CLAIM = text("""
UPDATE charger_operation_log SET status = 'sending', sent_at = now()
WHERE status = 'pending' AND id IN (
    SELECT min(o.id) FROM charger_operation_log AS o
    WHERE o.status = 'pending' AND NOT EXISTS (
        SELECT FROM charger_operation_log AS s WHERE s.status = 'sending' AND s.charge_box_id = o.charge_box_id)
    GROUP BY o.charge_box_id ORDER BY 1 LIMIT :limit)
RETURNING id, charge_box_id, operation, params
""")


class Source(StrEnum):
    """Who wants an operation."""

    OPERATOR = "operator"
    DRIVER = "driver"
    DEVICE = "device"
    AUTO_STOP = "auto_stop"
    RESERVATION = "reservation"


class OperationKeyReused(ApiError):
    """The key stands for another operation already."""

    status, code = 422, "idempotency_key_reused"
    message = "This key was used for another operation."


@dataclass(frozen=True)
class NewOperation:
    """What a charger is to be asked.

    ``key`` makes it one operation however often it is requested; ``wanted_for``: it is not sent later than that.
    """

    charge_box_id: str
    operation: str
    params: Mapping[str, Any]
    source: Source
    key: str = field(default_factory=lambda: uuid4().hex)
    requested_by: UUID | None = None
    reason: str | None = None
    dry_run: bool = False
    wanted_for: timedelta = WANTED_FOR


@dataclass(frozen=True)
class ToSend:
    """An operation that is this worker's to send."""

    id: int
    charge_box_id: str
    operation: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Ended:
    """What became of an operation."""

    outcome: Outcome
    result: Mapping[str, Any] | None = None
    task_id: int | None = None

    @property
    def status(self) -> OperationStatus:
        """The lifecycle's word for it."""
        if self.outcome is Outcome.ACCEPTED:
            return OperationStatus.COMPLETED
        return OperationStatus.TIMEOUT if self.outcome in UNCERTAIN else OperationStatus.FAILED


class OperationLogRepository(Repository[ChargerOperation]):
    """Every query on remote operations."""

    model = ChargerOperation

    async def request(self, new: NewOperation) -> ChargerOperation:
        """Note an operation to be sent, or find the one with this key.

        Raises:
            OperationNotAllowed, pydantic.ValidationError: it is no operation that we know, or its parameters are wrong.
            ChargerNotFound: there is no such charge box.
            OperationKeyReused: the key belongs to something else.
        """
        params = validated(new.operation, new.params)
        charge_box_id = await existing_charge_box(self.uow, new.charge_box_id)
        await self.uow.execute(
            insert(ChargerOperation)
            .values(
                charge_box_id=charge_box_id,
                operation=new.operation,
                params=params,
                source=new.source.value,
                reason=new.reason,
                idempotency_key=new.key,
                requested_by=new.requested_by,
                status=(OperationStatus.DRY_RUN if new.dry_run else OperationStatus.PENDING).value,
                not_after=func.now() + new.wanted_for,
            )
            .on_conflict_do_nothing(index_elements=["idempotency_key"])
        )
        row = (
            await self.uow.session.execute(select(ChargerOperation).where(ChargerOperation.idempotency_key == new.key))
        ).scalar_one()
        wanted = (charge_box_id, new.operation, params, new.requested_by)
        if (row.charge_box_id, row.operation, row.params, row.requested_by) != wanted:
            raise OperationKeyReused
        return row

    async def any_open(self) -> bool:
        """Something waits, is being sent or has not been answered."""
        return bool(await self.uow.session.scalar(select(exists().where(ChargerOperation.status.in_(OPEN)))))

    async def claim(self, limit: int) -> list[ToSend]:
        """Take the oldest operation of each charge box that nothing is being asked. Only for the sending worker.

        What is committed as ``sending`` is never sent again.
        """
        rows = (await self.uow.execute(_CLAIM, {"limit": limit})).all()
        return [ToSend(row.id, row.charge_box_id, row.operation, row.params) for row in rows]

    async def submitted(self, operation_id: int, *, task_id: int, result: Mapping[str, Any]) -> None:
        """SteVe has it, and the charger has not answered yet."""
        await self.uow.execute(
            update(ChargerOperation)
            .where(ChargerOperation.id == operation_id, ChargerOperation.status == OperationStatus.SENDING)
            .values(status=OperationStatus.SUBMITTED.value, task_id=task_id, result=dict(result))
        )

    async def end(self, operation_id: int, ended: Ended) -> bool:
        """Write what became of it, once; False when that was known already. What was given up as unknown may be put
        right by the one who knows.
        """
        values: dict[str, Any] = {"task_id": ended.task_id} if ended.task_id is not None else {}
        row = (
            await self.uow.execute(
                update(ChargerOperation)
                .where(
                    ChargerOperation.id == operation_id,
                    or_(ChargerOperation.outcome.is_(None), ChargerOperation.outcome == Outcome.UNKNOWN.value),
                )
                .values(
                    status=ended.status.value,
                    outcome=ended.outcome.value,
                    result=None if ended.result is None else dict(ended.result),
                    completed_at=func.now(),
                    **values,
                )
                .returning(ChargerOperation)
                .execution_options(synchronize_session=False)
            )
        ).scalar_one_or_none()
        if row is not None:
            self.uow.emit(_completed(row))
        return row is not None

    async def left_sending(self) -> list[int]:
        """Operations that a dead worker was sending. Only for the sending worker, before it claims any."""
        query = select(ChargerOperation.id).where(ChargerOperation.status == OperationStatus.SENDING)
        return list((await self.uow.session.execute(query)).scalars())

    async def overdue(self) -> list[int]:
        """Operations that nobody expects to be sent any more."""
        query = select(ChargerOperation.id).where(
            ChargerOperation.status == OperationStatus.PENDING, ChargerOperation.not_after < func.now()
        )
        return list((await self.uow.session.execute(query)).scalars())

    async def unanswered(self, *, patience: timedelta) -> Sequence[tuple[ChargerOperation, bool]]:
        """Operations whose charger has not answered, oldest first; with each, whether it has had long enough."""
        late = (ChargerOperation.sent_at < func.now() - patience).label("late")
        query = (
            select(ChargerOperation, late)
            .where(ChargerOperation.status == OperationStatus.SUBMITTED)
            .order_by(ChargerOperation.id)
            .limit(100)
        )
        return [(row.ChargerOperation, row.late) for row in (await self.uow.session.execute(query)).all()]


def _completed(row: ChargerOperation) -> OperationCompleted:
    """Operators, and the one who asked."""
    return OperationCompleted(
        audience=Audience.operators_and(row.requested_by),
        operation_log_id=row.id,
        charge_box_id=row.charge_box_id,
        operation=row.operation,
        status=row.status,
        outcome=row.outcome or "",
        task_id=row.task_id,
    )
