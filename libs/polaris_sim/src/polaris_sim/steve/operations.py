"""Operations: SteVe asks stations to do something, waits for their answers, and remembers the task."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from polaris_sim.steve.dates import parse_moment
from polaris_sim.steve.errors import Refused, ValidationFailed
from polaris_sim.steve.model import AuthStatus, ChargeBox
from polaris_sim.steve.operation_forms import OPERATIONS, Params, validated

if TYPE_CHECKING:
    from polaris_sim.steve.simulator import SteveSimulator


@dataclass
class OperationTask:
    """One call of an operation, in memory only."""

    task_id: int
    finished: bool = False
    closed: bool = False
    """Answers that come later are dropped."""
    success: list[dict[str, object]] = field(default_factory=list)
    errors: list[dict[str, object]] = field(default_factory=list)
    exceptions: list[dict[str, object]] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """The answer of the POST, and of the fork's GET."""
        return {
            "taskId": self.task_id,
            "taskFinished": self.finished,
            "successResponses": self.success,
            "errorResponses": self.errors,
            "exceptions": self.exceptions,
        }


class OperationTasks:
    """Runs operations against the stations. Task ids count from 1 and start again after ``forget()``."""

    def __init__(self, simulator: "SteveSimulator") -> None:
        self._simulator = simulator
        self._tasks: OrderedDict[int, OperationTask] = OrderedDict()
        self._last_id = 0

    def get(self, task_id: int) -> OperationTask | None:
        """A task that is still remembered."""
        return self._tasks.get(task_id)

    def forget(self) -> None:
        """Lose all tasks and count from 1 again, as at a restart."""
        self._tasks.clear()
        self._last_id = 0

    async def run(self, name: str, body: Mapping[str, object]) -> OperationTask:
        """Validate, send to every station of ``chargeBoxIdList`` and wait for their answers.

        Raises:
            ValidationFailed: the body is not what the operation wants.
            Refused: no eligible station, tag, transaction, reservation or profile.
        """
        params = validated(name, body)
        boxes = self._eligible(params)
        await self._check_business_rules(name, params, boxes)
        self._last_id += 1
        task = self._tasks[self._last_id] = OperationTask(self._last_id)
        while len(self._tasks) > self._simulator.config.task_history:
            self._tasks.popitem(last=False)
        asked = {asyncio.ensure_future(self._ask(name, params, box, task)) for box in boxes}
        _, pending = await asyncio.wait(asked, timeout=self._simulator.config.operation_timeout_seconds)
        task.finished, task.closed = not pending, True
        for late in pending:
            self._simulator.spawn(_outlive(late))
        return task

    def _eligible(self, params: Params) -> list[ChargeBox]:
        wanted = [self._simulator.state.charge_box(charge_box_id) for charge_box_id in params.charge_box_ids]
        boxes = [box for box in wanted if box is not None and box.online]
        if not boxes:
            raise Refused("No stations are eligible for communication")
        return boxes

    async def _check_business_rules(self, name: str, params: Params, boxes: list[ChargeBox]) -> None:
        state, box = self._simulator.state, boxes[0]
        if params.charging_profile_pk is not None and params.charging_profile_pk not in state.charging_profiles:
            raise Refused("chargingProfilePk is unknown.")
        if name in ("RemoteStartTransaction", "ReserveNow") and await self._tag_status(params, box) != "Accepted":
            raise Refused("Requested OCPP Tag is not eligible for this operation")
        if name == "RemoteStopTransaction":
            transaction = state.active.get(params.integer("transactionId"))
            if transaction is None or transaction.charge_box is not box:
                raise Refused("This transaction is not active at this station.")
        if name == "CancelReservation":
            reservation = state.reservations.get(params.integer("reservationId"))
            if reservation is None or reservation.charge_box_id != box.charge_box_id:
                raise Refused("This reservation is not active at this station.")
        if name == "ReserveNow" and self._expiry(params) <= self._simulator.clock.now():
            raise ValidationFailed

    async def _tag_status(self, params: Params, box: ChargeBox) -> AuthStatus:
        if self._simulator.config.pre_authorize_operations:
            return await self._simulator.authorize(box.charge_box_id, params.id_tag, connector_id=params.connector_id)
        tag = self._simulator.state.tag(params.id_tag)
        return tag.decide(self._simulator.clock.now()) if tag else AuthStatus.INVALID

    async def _ask(self, name: str, params: Params, box: ChargeBox, task: OperationTask) -> None:
        behaviour, box_id = box.behaviour, box.charge_box_id
        await asyncio.sleep(behaviour.answer_delay_seconds)
        answer: dict[str, object]
        if (message := behaviour.exceptions.get(name)) is not None:
            target, answer = task.exceptions, {"chargeBoxId": box_id, "exceptionMessage": message}
        elif (code := behaviour.errors.get(name)) is not None:
            target = task.errors
            answer = {"chargeBoxId": box_id, "errorCode": code, "errorDescription": "", "errorDetails": None}
        else:
            target, answer = task.success, {"chargeBoxId": box_id, "response": self._answer(name, params, box)}
            if name == "ReserveNow" and answer["response"] == "Accepted" and self._simulator.config.names_reservations:
                answer["reservationId"] = max(self._simulator.state.reservations)
        if not task.closed:
            target.append(answer)

    def _answer(self, name: str, params: Params, box: ChargeBox) -> object:
        """What the station answers; what it does goes on after the answer."""
        if name in box.behaviour.responses:
            return box.behaviour.responses[name]
        match name:
            case "RemoteStartTransaction":
                if not self._simulator.station.accepts_start(box.charge_box_id, params.connector_id):
                    return "Rejected"
                self._simulator.spawn(self._start(box, params))
            case "RemoteStopTransaction":
                self._simulator.spawn(self._simulator.station.remote_stop(params.integer("transactionId")))
            case "ReserveNow":
                self._simulator.state.add_reservation(
                    box.charge_box_id, params.connector_id or 0, params.id_tag, self._expiry(params)
                )
            case "CancelReservation":
                self._simulator.state.reservations.pop(params.integer("reservationId"), None)
        return OPERATIONS[name].answer(params)

    async def _start(self, box: ChargeBox, params: Params) -> None:
        behaviour = box.behaviour
        await asyncio.sleep(behaviour.remote_start_delay_seconds)
        for _ in range({"never": 0, "twice": 2}.get(behaviour.remote_start, 1)):
            await self._simulator.station.remote_start(box.charge_box_id, params.connector_id, params.id_tag)

    def _expiry(self, params: Params) -> datetime:
        try:
            return parse_moment(params.text("expiry"))
        except ValueError:
            raise ValidationFailed from None


async def _outlive(late: "asyncio.Future[None]") -> None:
    await late
