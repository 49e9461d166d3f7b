"""Delivering events to Lago: at least once, in batches, so that Lago counts each exactly once (lago.md §1.1)."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

import structlog

from billing_bridge.metrics import BATCH_SECONDS, BATCHES, EVENTS
from billing_bridge.sender.overdue import OverdueEvents
from billing_bridge.sender.repository import LEASE_SECONDS, Claimed, LagoEventRepository
from polaris_common.clock import Clock, to_wire
from polaris_common.db import Database, UnitOfWork
from polaris_common.energy import kwh_text
from polaris_common.events.catalogue import Audience, OperatorNotice, SessionBilled
from polaris_common.http.transport import backoff_seconds
from polaris_common.lago import LagoClient, LagoRefused, LagoUnavailable
from polaris_common.lago.client import MAX_BATCH
from polaris_common.models import BillingStatus
from polaris_common.observability.health import Component, report

log = structlog.get_logger(__name__)

GIVE_UP_AFTER = 3
"""So many lost batches in a row mean that Lago is away; the next sweep tries again."""

BATCHES_AT_ONCE = 10
"""So many batches are claimed together and recorded together."""

MAX_BACKOFF_SECONDS = 60.0
FIRST_BACKOFF_SECONDS = 0.5
_ALREADY_THERE = {"transaction_id": ["value_already_exist"]}
_EVENTS_FAULT = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
_KEYS_FAULT = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True)
class _Claim:
    """Events that are ours for a while."""

    events: Sequence[Claimed] = ()
    taken_at: float = 0.0
    """By the monotonic clock."""

    @property
    def is_full(self) -> bool:
        """There may be more where these come from."""
        return len(self.events) == BATCHES_AT_ONCE * MAX_BATCH

    @property
    def is_old(self) -> bool:
        """Too old to begin another batch: it could outlive the lease."""
        return time.monotonic() - self.taken_at > LEASE_SECONDS / 2


@dataclass
class _Delivery:
    """What became of one claim."""

    delivered: list[Claimed] = field(default_factory=list)
    refused: list[tuple[Claimed, str]] = field(default_factory=list)
    unknown: list[Claimed] = field(default_factory=list)
    unsent: list[Claimed] = field(default_factory=list)
    error: str | None = None
    health: str = "unreachable"
    """What the health page says when something is unknown."""
    retry_after: float | None = None

    @property
    def asked(self) -> bool:
        """Whether Lago was sent anything."""
        return bool(self.delivered or self.refused or self.unknown)

    def count(self) -> None:
        """Add it to the process's figures."""
        EVENTS.labels("delivered").inc(len(self.delivered))
        EVENTS.labels("quarantined").inc(len(self.refused))
        EVENTS.labels("postponed").inc(len(self.unknown))


class SendingGate(Protocol):
    """Says whether Lago would count what is sent."""

    async def sending_allowed(self) -> bool:
        """Whether events may be sent now."""
        ...


class Sender:
    """Sends what the ledger wrote."""

    def __init__(self, database: Database, lago: LagoClient, clock: Clock, gate: SendingGate | None = None) -> None:
        self._database, self._lago, self._clock, self._gate = database, lago, clock, gate
        self._overdue = OverdueEvents(database, lago, clock)

    async def send_due(self) -> None:
        """Send until nothing is due, Lago asks us to wait, or it does not answer several times in a row.

        While events are on their way to Lago, PostgreSQL picks the next ones and writes down what came of the last.
        """
        await self._overdue.settle()
        lost = 0
        ahead: asyncio.Task[_Claim] | None = None
        recording: asyncio.Task[None] | None = None
        try:
            while True:
                claim = await ahead if ahead is not None else _Claim()
                if not claim.events:
                    if recording is not None:
                        await recording  # it may give some back
                    claim = await self._claim(lost)
                if not claim.events:
                    return
                ahead = asyncio.create_task(self._claim(lost)) if claim.is_full else None
                delivery = _Delivery()
                lost = await self._deliver_batches(claim, delivery, lost)
                if recording is not None:
                    await recording
                recording = asyncio.create_task(self._record(delivery))
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)
            if recording is not None:
                await recording

    async def _claim(self, lost: int) -> _Claim:
        """What may be sent now; nothing when Lago is away, wants a pause, or would not count it."""
        if lost >= GIVE_UP_AFTER or self._lago.events_paused_for:
            return _Claim()
        if self._gate is not None and not await self._gate.sending_allowed():
            return _Claim()
        async with self._database.unit_of_work() as uow:
            events = await LagoEventRepository(uow).claim(BATCHES_AT_ONCE * MAX_BATCH)
        return _Claim(events, time.monotonic())

    async def _deliver_batches(self, claim: _Claim, delivery: _Delivery, lost: int) -> int:
        """Send batch after batch while that makes sense; how many were lost in a row by now. The rest is given back."""
        for begin in range(0, len(claim.events), MAX_BATCH):
            batch = claim.events[begin : begin + MAX_BATCH]
            if lost >= GIVE_UP_AFTER or self._lago.events_paused_for or claim.is_old:
                delivery.unsent += batch
                continue
            unknown = len(delivery.unknown)
            await self._deliver(batch, delivery)
            lost = lost + 1 if len(delivery.unknown) > unknown else 0
        return lost

    async def _deliver(self, batch: Sequence[Claimed], delivery: _Delivery) -> None:
        """Send one batch; what Lago objects to is sorted out event by event."""
        if not batch:
            return
        try:
            with BATCH_SECONDS.time():
                await self._lago.send_events([event.body for event in batch])
        except LagoUnavailable as away:
            BATCHES.labels("unavailable").inc()
            delivery.unknown += batch
            delivery.error, delivery.retry_after = f"lago_unavailable: {away}", away.retry_after
        except LagoRefused as refusal:
            BATCHES.labels("refused").inc()
            await self._sort_out(batch, refusal, delivery)
        else:
            BATCHES.labels("accepted").inc()
            delivery.delivered += batch

    async def _sort_out(self, batch: Sequence[Claimed], refusal: LagoRefused, delivery: _Delivery) -> None:
        if refusal.status not in _EVENTS_FAULT:
            delivery.unknown += batch
            delivery.error = f"lago_refused: {refusal}"
            delivery.health = "credentials_refused" if refusal.status in _KEYS_FAULT else "unexpected_answer"
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
            if delivery.refused:
                uow.emit(_quarantine_notice([event.transaction_id for event, _ in delivery.refused]))
            if delivery.unknown:
                await self._postpone(events, delivery)
            if delivery.unsent:
                await events.give_back([event.id for event in delivery.unsent])
            delivery.count()
            if delivery.asked:
                await report(uow, Component.LAGO, error=delivery.health if delivery.unknown else None)

    async def _postpone(self, events: LagoEventRepository, delivery: _Delivery) -> None:
        attempts = min(event.attempts for event in delivery.unknown)
        wait = backoff_seconds(attempts, base=FIRST_BACKOFF_SECONDS, ceiling=MAX_BACKOFF_SECONDS)
        asked = delivery.retry_after or 0.0
        ids = [event.id for event in delivery.unknown]
        await events.postpone(ids, seconds=wait, asked=asked, error=delivery.error or "unknown")
        log.warning("lago_events_postponed", events=len(ids), seconds=round(max(wait, asked), 1), error=delivery.error)

    async def _announce(self, uow: UnitOfWork, events: LagoEventRepository, slice_ids: Sequence[int]) -> None:
        if not slice_ids:
            return
        now = to_wire(self._clock.now())
        for session in await events.sessions_of(slice_ids):
            uow.emit(
                SessionBilled(
                    audience=Audience.operators_and(session.user_id),
                    session_id=session.session_id,
                    transaction_id=session.steve_transaction_id,
                    charge_box_id=session.charge_box_id,
                    connector_id=session.connector_id,
                    user_mapping_id=session.tag_mapping_id,
                    billed_wh=session.delivered_wh,
                    billed_kwh=kwh_text(session.delivered_wh),
                    lago_event_transaction_id=session.last_transaction,
                    flushed_at=now,
                    is_reconciliation=session.billing_status == BillingStatus.BILLED
                    and session.delivered_wh == session.billed_wh,
                )
            )


def _quarantine_notice(transaction_ids: Sequence[str]) -> OperatorNotice:
    """One notice however many Lago refused at once; it names the first."""
    return OperatorNotice(
        kind="lago_event_quarantined",
        severity="error",
        source_type="event",
        source_id=transaction_ids[0],
        detail=f"events={len(transaction_ids)}",
    )


def _by_index(details: Mapping[str, Any], size: int) -> dict[int, Any]:
    """Lago's map from batch index to problem; empty when the answer is of another kind."""
    if not all(key.isdecimal() and int(key) < size for key in details):
        return {}
    return {int(key): problem for key, problem in details.items()}
