"""Cutting energy slices: readings and stop values become ledger rows and Lago events, in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from billing_bridge.ledger.event_text import event_text
from billing_bridge.ledger.repository import LastSlice, LedgerRepository, NewSlice, decision_row
from polaris_common.charging.mappings import TagMappingRepository
from polaris_common.charging.meters import MeterRepository, Reading
from polaris_common.charging.sessions import ChargingSessionRepository
from polaris_common.db import Database, UnitOfWork
from polaris_common.domain.payer import Decision, Held, HoldReason, Never, NeverReason, Pays, SubscriptionValue, decide
from polaris_common.domain.slicing import Point, SlicePolicy, cut
from polaris_common.domain.tag_owner import MappingValue
from polaris_common.ids import lago_transaction_id
from polaris_common.jobs import Jobs
from polaris_common.models import BillingStatus, ChargingSession, SessionBilling, SessionState

log = structlog.get_logger(__name__)

BATCH = 200
HELD_AGAIN_AFTER_SECONDS = 60.0


@dataclass
class _Known:
    """Everything a batch needs to decide, read in a handful of queries."""

    billing: Mapping[int, SessionBilling]
    last: Mapping[int, LastSlice]
    readings: Mapping[int, list[Reading]]
    owners: Mapping[str, MappingValue | None]
    subscriptions: Sequence[SubscriptionValue]
    lago_mirrored: bool


@dataclass
class _Outcome:
    decisions: list[dict[str, Any]] = field(default_factory=list)
    slices: list[NewSlice] = field(default_factory=list)


class Ledger:
    """The only writer of slices, events and billing decisions."""

    def __init__(self, database: Database, jobs: Jobs, *, policy: SlicePolicy, metric_code: str) -> None:
        self._database, self._jobs = database, jobs
        self._policy, self._metric_code = policy, metric_code

    async def bill_due(self) -> None:
        """Look at every session that changed, until none is left."""
        while await self._bill_batch():
            pass

    async def bill_held(self, *, older_than_seconds: float = HELD_AGAIN_AFTER_SECONDS) -> None:
        """Look again at sessions that could not be billed; the reason may have gone."""
        async with self._database.unit_of_work() as uow:
            before = await LedgerRepository(uow).moment(seconds_ago=older_than_seconds)
        while await self._bill_batch(held_before=before):
            pass

    async def _bill_batch(self, *, held_before: datetime | None = None) -> int:
        """Decide one batch: sessions that are due, or those held and not looked at since ``held_before``."""
        async with self._database.unit_of_work() as uow:
            ledger = LedgerRepository(uow)
            if held_before is None:
                ids = await ledger.due_ids(BATCH)
            else:
                ids = await ledger.held_ids(before=held_before, limit=BATCH)
            sessions = await ledger.lock_sessions(ids) if ids else []
            if not sessions:
                return 0
            transaction_ids = [session.steve_transaction_id for session in sessions]
            meters = MeterRepository(uow)
            revisions = await meters.revisions(transaction_ids)
            outcome = self._decide(sessions, await _known(uow, sessions))
            await ledger.append(outcome.slices)
            await ledger.record(outcome.decisions)
            await ChargingSessionRepository(uow).mark_billed({session.id: session.revision for session in sessions})
            await meters.mark_billed(revisions)
            if outcome.slices:
                uow.after_commit(self._jobs.send_events)
        log.debug("billed_batch", sessions=len(sessions), slices=len(outcome.slices))
        return len(sessions)

    def _decide(self, sessions: Sequence[ChargingSession], known: _Known) -> _Outcome:
        outcome = _Outcome()
        for session in sessions:
            before = known.billing.get(session.id)
            billed_wh, count = (before.billed_wh, before.slice_count) if before else (0, 0)
            decision = _decision(session, known, billed_wh)
            if not isinstance(decision, Pays):
                status = BillingStatus.HELD if isinstance(decision, Held) else BillingStatus.NOT_BILLABLE
                row = decision_row(
                    session, status, reason=decision.reason.value, billed_wh=billed_wh, slice_count=count
                )
                outcome.decisions.append(row)
                continue
            subscription = decision.subscription_external_id
            fresh = self._cut(session, known, subscription, count)
            outcome.slices += fresh
            settled = session.state == SessionState.SETTLED
            outcome.decisions.append(
                decision_row(
                    session,
                    BillingStatus.BILLED if settled else BillingStatus.BILLING,
                    subscription=subscription,
                    billed_wh=billed_wh + sum(new.cut.to_wh - new.cut.from_wh for new in fresh),
                    slice_count=count + len(fresh),
                )
            )
        return outcome

    def _cut(self, session: ChargingSession, known: _Known, subscription: str, index: int) -> list[NewSlice]:
        begin = _begin(session, known.last.get(session.id))
        readings = (Point(each.sampled_at, each.wh) for each in known.readings.get(session.steve_transaction_id, ()))
        cuts = cut(begin, readings, _stop(session), self._policy)
        return [
            NewSlice(
                session_id=session.id,
                index=number,
                cut=each,
                subscription=subscription,
                transaction_id=lago_transaction_id(session.steve_transaction_id, each.from_wh, each.to_wh),
                event=event_text(session, each, index=number, subscription=subscription, metric_code=self._metric_code),
            )
            for number, each in enumerate(cuts, start=index)
        ]


async def _known(uow: UnitOfWork, sessions: Sequence[ChargingSession]) -> _Known:
    ledger, ids = LedgerRepository(uow), [session.id for session in sessions]
    owners = await TagMappingRepository(uow).owners({session.id_tag for session in sessions})
    payers = [owner for owner in owners.values() if owner is not None]
    return _Known(
        billing=await ledger.billing_of(ids),
        last=await ledger.last_slices(ids),
        readings=await MeterRepository(uow).registers([session.steve_transaction_id for session in sessions]),
        owners=owners,
        subscriptions=await ledger.subscriptions(
            {owner.lago_customer_external_id for owner in payers if owner.lago_customer_external_id},
            {owner.lago_subscription_external_id for owner in payers if owner.lago_subscription_external_id},
        ),
        lago_mirrored=await ledger.lago_mirrored(),
    )


def _decision(session: ChargingSession, known: _Known, billed_wh: int) -> Decision:
    if session.state == SessionState.QUARANTINED or session.start_wh is None:
        return Held(HoldReason.IMPLAUSIBLE)
    if session.state == SessionState.SETTLED and session.stop_wh is not None:
        metered = session.stop_wh - session.start_wh
        if billed_wh > metered:
            return Held(HoldReason.OVERBILLED)
        if metered == 0:
            return Never(NeverReason.ZERO_ENERGY)
    owner = known.owners[session.id_tag.lower()]
    return decide(owner, known.subscriptions, lago_mirrored=known.lago_mirrored)


def _begin(session: ChargingSession, last: LastSlice | None) -> Point:
    if last is not None:
        return Point(last.ended_at, last.to_wh)
    return Point(session.started_at, session.start_wh or 0)


def _stop(session: ChargingSession) -> Point | None:
    if session.state != SessionState.SETTLED or session.stopped_at is None or session.stop_wh is None:
        return None
    return Point(session.stopped_at, session.stop_wh)
