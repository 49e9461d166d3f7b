"""One simulated SteVe with the stations behind it: the Python API of the simulator."""

import asyncio
import random
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from polaris_sim.clock import SimClock
from polaris_sim.faults import FaultPlan
from polaris_sim.steve.auth import Credentials
from polaris_sim.steve.config import SteveConfig
from polaris_sim.steve.dates import iso
from polaris_sim.steve.hooks import HookSender
from polaris_sim.steve.model import (
    AuthStatus,
    ChargeBox,
    EventActor,
    FailedStop,
    MeterValue,
    StationBehaviour,
    Stop,
    Tag,
    Transaction,
)
from polaris_sim.steve.operations import OperationTasks
from polaris_sim.steve.state import SteveState
from polaris_sim.steve.station import PlainStation, Station
from polaris_sim.steve.stop_guess import guess_stop
from polaris_sim.steve.wire import Wire

Sample = Mapping[str, str]
"""One OCPP sampledValue: ``value`` and, if named, ``measurand``, ``unit``, ``context``, ``phase``, ``location``."""


@dataclass(frozen=True)
class StartResult:
    """What the station learns from StartTransaction. The transaction exists whatever the status."""

    transaction_id: int
    status: AuthStatus


@dataclass(frozen=True)
class StopResult:
    """What became of a stop. The station gets a normal answer either way."""

    stored: bool
    fail_reason: str | None = None


class SteveSimulator:
    """SteVe as its stations, its operator and its REST clients see it.

    ``hook_client`` sends the hooks through a given httpx client, for receivers in the same process.
    """

    def __init__(self, config: SteveConfig | None = None, *, hook_client: httpx.AsyncClient | None = None) -> None:
        self.config = config or SteveConfig()
        self.features = self.config.profile.features
        self.clock = self.config.clock or SimClock()
        self.dice = random.Random(self.config.seed)
        self.faults = FaultPlan(seed=self.config.seed)
        self.state = SteveState()
        self.wire = Wire(self.features, self.config.zone_offset_hours)
        self.credentials = Credentials(self.config.username, self.config.api_password, self.clock)
        self.hooks = HookSender(self.config.hooks, by_default=self.features.hooks, client=hook_client)
        self.tasks = OperationTasks(self)
        self.station: Station = PlainStation(self)
        self.refs: dict[str, int] = {}
        """The callers' own session names of ``/_sim/script``."""
        self._background: set[asyncio.Task[None]] = set()

    def add_charge_box(
        self,
        charge_box_id: str,
        *,
        connectors: int = 1,
        description: str | None = None,
        online: bool = True,
        behaviour: StationBehaviour | None = None,
    ) -> ChargeBox:
        """Add a charge box, or change the one with this id."""
        box = self.state.charge_box(charge_box_id) or self.state.add_charge_box(
            charge_box_id, connectors=connectors, description=description
        )
        box.connectors, box.description, box.online = connectors, description, online
        box.behaviour = behaviour or StationBehaviour()
        self._heard_from(box)
        return box

    def add_tag(
        self,
        id_tag: str,
        *,
        max_active_transaction_count: int = 1,
        parent_id_tag: str | None = None,
        expiry_date: datetime | None = None,
        note: str | None = None,
        user_pk: int | None = None,
    ) -> Tag:
        """Add a tag, or change the one with this idTag.

        Raises:
            ForeignKeyViolation: there is no such parent.
        """
        tag = self.state.tag(id_tag) or self.state.add_tag(id_tag)
        self.state.set_parent(tag, parent_id_tag)
        tag.max_active_transaction_count, tag.expiry_date = max_active_transaction_count, expiry_date
        if tag.user_pk != user_pk:
            for transaction_id in tag.transaction_ids:
                self.state.transactions[transaction_id].json_row = None
        tag.note, tag.user_pk = note, user_pk
        return tag

    def tag(self, id_tag: str) -> Tag:
        """The tag with this idTag; KeyError if there is none."""
        if (tag := self.state.tag(id_tag)) is None:
            raise KeyError(f"no tag {id_tag}")
        return tag

    def charge_box(self, charge_box_id: str) -> ChargeBox:
        """The charge box with this id; KeyError if there is none."""
        if (box := self.state.charge_box(charge_box_id)) is None:
            raise KeyError(f"no charge box {charge_box_id}")
        return box

    def transaction(self, transaction_id: int) -> Transaction:
        """The transaction with this id; KeyError if there is none."""
        return self.state.transactions[transaction_id]

    async def authorize(
        self, charge_box_id: str, id_tag: str, *, connector_id: int | None = None, is_start_tx: bool = False
    ) -> AuthStatus:
        """A driver taps: SteVe's own decision, which the pre-authorize hook can turn from Accepted to Blocked."""
        box = self.charge_box(charge_box_id)
        self._heard_from(box)
        now = self.clock.now()
        override = await self.hooks.pre_authorize(
            id_tag=id_tag,
            charge_box_id=box.charge_box_id,
            connector_id=connector_id,
            is_start_tx=is_start_tx,
            ts=int(now.timestamp() * 1000),
        )
        tag = self.state.tag(id_tag)
        decision = tag.decide(now) if tag else AuthStatus.INVALID
        return AuthStatus.BLOCKED if override and decision is AuthStatus.ACCEPTED else decision

    async def start_transaction(
        self,
        charge_box_id: str,
        connector_id: int,
        id_tag: str,
        *,
        start_value: str | int | None,
        timestamp: datetime | None = None,
    ) -> StartResult:
        """StartTransaction: always makes a transaction; an unknown tag is inserted blocked.

        ``timestamp`` is the station's clock (default now): an old one is a session that was offline.
        """
        status = await self.authorize(charge_box_id, id_tag, connector_id=connector_id, is_start_tx=True)
        now = self.clock.now()
        tag = self.state.tag(id_tag) or self.add_tag(
            id_tag, max_active_transaction_count=0, note="unknown at the start of a transaction"
        )
        transaction = self.state.start(
            self.charge_box(charge_box_id),
            connector_id,
            tag,
            start_value=None if start_value is None else str(start_value),
            timestamp=timestamp or now,
            now=now,
        )
        return StartResult(transaction.id, status)

    def meter_values(
        self,
        transaction_id: int | None,
        timestamp: datetime | None = None,
        samples: Sequence[Sample] = (),
        *,
        charge_box_id: str | None = None,
        connector_id: int | None = None,
    ) -> bool:
        """MeterValues with one MeterValue element; False if SteVe dropped it.

        Without a known transaction the charge box and the connector say where the values belong; no hook is sent then.
        """
        at = timestamp or self.clock.now()
        values = [_meter_value(at, sample) for sample in samples]
        transaction = self.state.transactions.get(transaction_id or 0)
        if transaction is None:
            names_unknown = (transaction_id or 0) > 0
            if charge_box_id is None or connector_id is None:
                return False
            if names_unknown and self.features.drops_stale_meter_values:
                return False
            self.state.add_loose_meter_values(self.charge_box(charge_box_id), connector_id, values)
            return True
        self._heard_from(transaction.charge_box)
        if self.features.drops_stale_meter_values and transaction.stopped_by_station:
            return False
        self.state.add_meter_values(transaction, values)
        self.hooks.meter_values(
            charge_box_id=transaction.charge_box.charge_box_id,
            transaction_pk=transaction.id,
            connector_id=transaction.connector_id,
            timestamp=iso(at),
            samples=samples,
        )
        return True

    def stop_transaction(
        self,
        transaction_id: int,
        stop_value: str | int,
        timestamp: datetime | None = None,
        *,
        reason: str | None = None,
        actor: EventActor | str = EventActor.STATION,
    ) -> StopResult:
        """StopTransaction of the station, or the operator's (``actor="manual"``), which SteVe never refuses.

        A refused stop leaves the transaction active for ever, though the station got a normal answer.
        """
        now = self.clock.now()
        stop = Stop(now, EventActor(actor), timestamp or now, str(stop_value), reason)
        transaction = self.state.transactions.get(transaction_id)
        reason_refused = None
        if transaction is None or (self.features.refuses_stops and stop.event_actor is EventActor.STATION):
            reason_refused = self.state.refusal(transaction_id, stop)
        if transaction is None or reason_refused:
            fail_reason = reason_refused or "the transaction does not exist"
            self.state.failed_stops.append(FailedStop(transaction_id, stop, fail_reason))
            return StopResult(stored=False, fail_reason=fail_reason)
        self._heard_from(transaction.charge_box)
        self.state.add_stop(transaction, stop)
        return StopResult(stored=True)

    def stop_manually(self, transaction_id: int) -> None:
        """Close a transaction as ``PATCH …/stop`` does: only in the database, with guessed values; no-op if stopped."""
        transaction = self.transaction(transaction_id)
        if transaction.stop is None:
            self.state.add_stop(transaction, guess_stop(self.state, transaction, self.clock.now()))

    def delete_tag(self, id_tag: str) -> None:
        """Delete a tag; its transactions vanish."""
        self.state.delete_tag(self.tag(id_tag))

    def delete_charge_box(self, charge_box_id: str) -> None:
        """Delete a charge box; its transactions and meter values vanish."""
        self.state.delete_charge_box(self.charge_box(charge_box_id))

    def restart(self) -> None:
        """SteVe restarts: task ids from 1, tasks and cached users forgotten, hook connections gone."""
        self.tasks.forget()
        self.credentials.forget()
        self.hooks.close_connections()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a station do something on its own."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def settled(self) -> None:
        """Wait until the stations have done what they were asked and all meter-value hooks are out."""
        while self._background:
            await asyncio.gather(*self._background, return_exceptions=True)
        await self.hooks.drained()

    async def aclose(self) -> None:
        """Stop everything that runs."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.hooks.aclose()

    def _heard_from(self, box: ChargeBox) -> None:
        if box.online:
            box.last_heartbeat = self.clock.now()


def _meter_value(at: datetime, sample: Sample) -> MeterValue:
    return MeterValue(
        at,
        sample["value"],
        sample.get("context"),
        sample.get("format"),
        sample.get("measurand"),
        sample.get("location"),
        sample.get("unit"),
        sample.get("phase"),
    )
