"""Delivering events to Lago: at least once, in batches, so that Lago counts each exactly once (lago.md §1.1)."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

import structlog

from billing_bridge.sender.repository import Claimed, LagoEventRepository
from polaris_common.clock import Clock, to_wire
from polaris_common.db import Database, UnitOfWork
from polaris_common.energy import kwh_text
from polaris_common.events.catalogue import Audience, SessionBilled
from polaris_common.http.transport import backoff_seconds
from polaris_common.lago import LagoClient, LagoRefused, LagoUnavailable
from polaris_common.lago.client import MAX_BATCH
from polaris_common.models import BillingStatus
from polaris_common.observability.health import Component, report

log = structlog.get_logger(__name__)

GIVE_UP_AFTER = 3
"""So many lost batches in a row mean that Lago is away; the next sweep tries again."""

MAX_BACKOFF_SECONDS = 60.0
FIRST_BACKOFF_SECONDS = 0.5
_ALREADY_THERE = {"transaction_id": ["value_already_exist"]}
_EVENTS_FAULT = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)


@dataclass
class _Delivery:
    """What became of one claimed batch."""

    delivered: list[Claimed] = field(default_factory=list)
    refused: list[tuple[Claimed, str]] = field(default_factory=list)
    unknown: list[Claimed] = field(default_factory=list)
    error: str | None = None
    retry_after: float | None = None


class SendingGate(Protocol):
    """Says whether Lago would count what is sent."""

    async def sending_allowed(self) -> bool:
        """Whether events may be sent now."""
        ...


class Sender:
    """Sends what the ledger wrote."""

    def __init__(self, database: Database, lago: LagoClient, clock: Clock, gate: SendingGate | None = None) -> None:
        self._database, self._lago, self._clock, self._gate = database, lago, clock, gate
        self._paused_until = 0.0

    async def send_due(self) -> None:
        """Send until nothing is due, Lago asks us to wait, or it does not answer several times in a row."""
        lost = 0
        while lost < GIVE_UP_AFTER and time.monotonic() >= self._paused_until:
            if self._gate is not None and not await self._gate.sending_allowed():
                return
            async with self._database.unit_of_work() as uow:
                claimed = await LagoEventRepository(uow).claim(MAX_BATCH)
            if not claimed:
                return
            delivery = _Delivery()
            await self._deliver(claimed, delivery)
            await self._record(delivery)
            lost = lost + 1 if delivery.unknown else 0
            if delivery.retry_after:
                self._paused_until = time.monotonic() + delivery.retry_after

    async def _deliver(self, batch: Sequence[Claimed], delivery: _Delivery) -> None:
        """Send one batch; what Lago objects to is sorted out event by event."""
        if not batch:
            return
        try:
            await self._lago.send_events([event.body for event in batch])
        except LagoUnavailable as away:
            delivery.unknown += batch
            delivery.error, delivery.retry_after = f"lago_unavailable: {away}", away.retry_after
        except LagoRefused as refusal:
            await self._sort_out(batch, refusal, delivery)
        else:
            delivery.delivered += batch

    async def _sort_out(self, batch: Sequence[Claimed], refusal: LagoRefused, delivery: _Delivery) -> None:
        if refusal.status not in _EVENTS_FAULT:
            delivery.unknown += batch
            delivery.error = f"lago_refused: {refusal}"
            return
        problems = _by_index(refusal.details, len(batch))
        if problems:
            for index, problem in problems.items():
                if problem == _ALREADY_THERE:
                    delivery.delivered.append(batch[index])
                else:
                    delivery.refused.append((batch[index], str(problem)))
            await self._deliver([event for index, event in enumerate(batch) if index not in problems], delivery)
        elif len(batch) == 1:
            delivery.refused.append((batch[0], str(refusal)))
        else:
            middle = len(batch) // 2
            await self._deliver(batch[:middle], delivery)
            await self._deliver(batch[middle:], delivery)

    async def _record(self, delivery: _Delivery) -> None:
        async with self._database.unit_of_work() as uow:
            events = LagoEventRepository(uow)
            if delivery.delivered:
                slices = await events.delivered([event.id for event in delivery.delivered])
                await self._announce(uow, events, slices)
            for event, problem in delivery.refused:
                await events.quarantine(event.id, problem)
                log.error("lago_event_quarantined", transaction_id=event.transaction_id, problem=problem)
            if delivery.unknown:
                await self._postpone(events, delivery)
            await report(uow, Component.LAGO, error="unreachable" if delivery.unknown else None)

    async def _postpone(self, events: LagoEventRepository, delivery: _Delivery) -> None:
        attempts = min(event.attempts for event in delivery.unknown)
        wait = backoff_seconds(attempts, base=FIRST_BACKOFF_SECONDS, ceiling=MAX_BACKOFF_SECONDS)
        wait = max(wait, delivery.retry_after or 0)
        ids = [event.id for event in delivery.unknown]
        await events.postpone(ids, seconds=wait, error=delivery.error or "unknown")
        log.warning("lago_events_postponed", events=len(ids), seconds=round(wait, 1), error=delivery.error)

    async def _announce(self, uow: UnitOfWork, events: LagoEventRepository, slice_ids: Sequence[int]) -> None:
        if not slice_ids:
            return
        now = to_wire(self._clock.now())
        for session in await events.sessions_of(slice_ids):
            uow.emit(
                SessionBilled(
                    audience=Audience.operators_and(session.user_id),
                    session_id=session.id,
                    transaction_id=session.steve_transaction_id,
                    charge_box_id=session.charge_box_id,
                    connector_id=session.connector_id,
                    user_mapping_id=session.tag_mapping_id,
                    billed_wh=int(session.delivered_wh),
                    billed_kwh=kwh_text(int(session.delivered_wh)),
                    lago_event_transaction_id=session.last_transaction,
                    flushed_at=now,
                    is_reconciliation=session.billing_status == BillingStatus.BILLED
                    and session.delivered_wh == session.billed_wh,
                )
            )


def _by_index(details: Mapping[str, Any], size: int) -> dict[int, Any]:
    """Lago's map from batch index to problem; empty when the answer is of another kind."""
    if not all(key.isdecimal() and int(key) < size for key in details):
        return {}
    return {int(key): problem for key, problem in details.items()}
