"""Cutting energy slices: readings and stop values become ledger rows and Lago events, in one transaction."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog

from billing_bridge.ledger.event_text import event_text, transaction_id
from billing_bridge.ledger.recovered import RecoveredEvents, slices_of
from billing_bridge.ledger.repository import Decided, LedgerRepository, NewDecision, NewSlice
from billing_bridge.ledger.session_books import Addition, DueSession, SessionBooks
from billing_bridge.metrics import DECISIONS, LEDGER_BATCH_SECONDS, SLICES
from polaris_common.charging.mappings import TagMappingRepository
from polaris_common.charging.meters import MeterRepository, Reading
from polaris_common.charging.sessions import ChargingSessionRepository
from polaris_common.db import Database, UnitOfWork
from polaris_common.db.outages import is_outage
from polaris_common.domain.corrections import Layered
from polaris_common.domain.payer import Decision, Held, Never, Pays, SubscriptionValue
from polaris_common.domain.slicing import SlicePolicy
from polaris_common.domain.tag_owner import MappingValue
from polaris_common.events.catalogue import OPERATORS, Audience, LateEnergy
from polaris_common.jobs import Jobs
from polaris_common.models import BillingStatus
from polaris_common.side_by_side import side_by_side

log = structlog.get_logger(__name__)

BATCH = 1_000
"""Sessions in one transaction."""

LANES = 2
"""Batches at once: one is being decided while PostgreSQL writes another."""

ROUND = 10 * BATCH
"""Sessions that are looked up at a time."""

HELD_AGAIN_AFTER_SECONDS = 60.0


_UNDECIDED = Decided()


@dataclass
class _Known:
    """Everything a batch needs to decide, read in a handful of queries."""

    decided: Mapping[int, Decided]
    slices: Mapping[int, list[Layered]]
    readings: Mapping[int, list[Reading]]
    owners: Mapping[str, MappingValue | None]
    attributed: Mapping[int, MappingValue]
    by_customer: Mapping[str, Sequence[SubscriptionValue]]
    by_id: Mapping[str, Sequence[SubscriptionValue]]
    """Subscriptions, by the customer's external id and by their own."""
    zones: Mapping[str, str]
    lago_mirrored: bool
    now: datetime

    def subscriptions_of(self, owner: MappingValue | None) -> Sequence[SubscriptionValue]:
        """Those that may pay for the owner's sessions."""
        if owner is None:
            return ()
        if owner.lago_subscription_external_id is not None:
            return self.by_id.get(owner.lago_subscription_external_id, ())
        return self.by_customer.get(owner.lago_customer_external_id or "", ())

    def owner_of(self, session: DueSession) -> MappingValue | None:
        """Whoever the session was attributed to pays, even if the card was switched off since; else the tag's owner."""
        if session.tag_mapping_id is not None:
            return self.attributed.get(session.tag_mapping_id)
        return self.owners[session.id_tag.lower()]


@dataclass
class _Outcome:
    decisions: list[NewDecision] = field(default_factory=list)
    slices: list[NewSlice] = field(default_factory=list)
    late_wh: dict[int, int] = field(default_factory=dict)
    """Session id → energy that came too late for its period."""


class BillingGate(Protocol):
    """Says whether the ledger is known to be complete."""

    async def billing_allowed(self) -> bool:
        """Whether slices may be cut now."""
        ...


class Ledger:
    """The only writer of slices, events and billing decisions."""

    def __init__(
        self, database: Database, jobs: Jobs, *, policy: SlicePolicy, metric_code: str, gate: BillingGate | None = None
    ) -> None:
        self._database, self._jobs = database, jobs
        self._policy, self._metric_code = policy, metric_code
        self._gate = gate

    async def bill_due(self) -> None:
        """Look at every session that changed, until none is left."""
        while await self._bill_batches():
            pass

    async def bill_held(self, *, older_than_seconds: float = HELD_AGAIN_AFTER_SECONDS) -> None:
        """Look again at sessions that could not be billed; the reason may have gone."""
        async with self._database.unit_of_work() as uow:
            before = await LedgerRepository(uow).moment(seconds_ago=older_than_seconds)
        while await self._bill_batches(held_before=before):
            pass

    async def _bill_batches(self, *, held_before: datetime | None = None) -> int:
        """Decide some batches side by side: sessions due, or those held and not looked at since ``held_before``."""
        if self._gate is not None and not await self._gate.billing_allowed():
            return 0
        async with self._database.unit_of_work() as uow:
            ledger = LedgerRepository(uow)
            if held_before is None:
                ids = await ledger.due_ids(ROUND)
            else:
                ids = await ledger.held_ids(before=held_before, limit=ROUND)
        batches = iter([ids[begin : begin + BATCH] for begin in range(0, len(ids), BATCH)])
        return sum(await side_by_side(*(self._lane(batches) for _ in range(LANES))))

    async def _lane(self, batches: Iterator[Sequence[int]]) -> int:
        """Decide batch after batch, as long as some are left that no other lane has taken."""
        return sum([await self._bill(batch) for batch in batches])

    async def _bill(self, ids: Sequence[int]) -> int:
        """Decide these sessions, all or nothing; but one that cannot be decided or written costs only itself."""
        try:
            with LEDGER_BATCH_SECONDS.time():
                return await self._bill_together(ids)
        except Exception as error:
            if is_outage(error):
                raise
            if len(ids) == 1:
                log.error("session_not_billed", session=ids[0], error=type(error).__name__)
                return 0
        middle = len(ids) // 2
        return await self._bill(ids[:middle]) + await self._bill(ids[middle:])

    async def _bill_together(self, ids: Sequence[int]) -> int:
        async with self._database.unit_of_work() as uow:
            ledger = LedgerRepository(uow)
            sessions = await ledger.lock_sessions(ids)
            if not sessions:
                return 0
            transaction_ids = [session.steve_transaction_id for session in sessions]
            meters = MeterRepository(uow)
            revisions = await meters.revisions(transaction_ids)
            recovered = await self._take_back(uow, [session.id for session in sessions])
            sessions = [each.with_slices() if each.id in recovered else each for each in sessions]
            outcome = self._decide(sessions, await self._known(uow, sessions, recovered))
            await ledger.append(outcome.slices)
            await ledger.record(outcome.decisions)
            _announce_late(uow, sessions, outcome.late_wh)
            await ChargingSessionRepository(uow).mark_billed({session.id: session.revision for session in sessions})
            await meters.mark_billed(revisions)
            if outcome.slices:
                uow.after_commit(self._jobs.send_events)
        SLICES.inc(len(outcome.slices))
        for status, count in Counter(new.status.value for new in outcome.decisions).items():
            DECISIONS.labels(status).inc(count)
        log.debug("billed_batch", sessions=len(sessions), slices=len(outcome.slices))
        return len(sessions)

    async def _take_back(self, uow: UnitOfWork, session_ids: Sequence[int]) -> dict[int, Decided]:
        """What only Lago remembered of these sessions becomes slices again; what is decided about each then."""
        taken = await RecoveredEvents(uow).take(session_ids)
        if not taken:
            return {}
        ledger, slices = LedgerRepository(uow), list[NewSlice]()
        decided = await ledger.decided([*taken])
        for session_id, events in taken.items():
            some, decided[session_id] = slices_of(session_id, events, decided.get(session_id, _UNDECIDED))
            slices += some
        await ledger.append(slices)
        await ledger.mark_delivered([new.transaction_id for new in slices])
        return decided

    def _decide(self, sessions: Sequence[DueSession], known: _Known) -> _Outcome:
        outcome = _Outcome()
        for session in sessions:
            books = self._books(session, known)
            decision = books.decide()
            before = known.decided.get(session.id, _UNDECIDED)
            count = before.slice_count
            fresh = [self._new_slice(session, each, index) for index, each in enumerate(books.additions, start=count)]
            outcome.slices += fresh
            late = sum(new.sold_wh for new in fresh if new.late)
            if late:
                outcome.late_wh[session.id] = late
            outcome.decisions.append(
                NewDecision(
                    session,
                    _status(decision, settled=books.stop is not None),
                    reason=None if isinstance(decision, Pays) else decision.reason.value,
                    subscription=decision.subscription_external_id if isinstance(decision, Pays) else None,
                    billed_wh=before.billed_wh + sum(new.sold_wh for new in fresh),
                    slice_count=count + len(fresh),
                )
            )
        return outcome

    def _books(self, session: DueSession, known: _Known) -> SessionBooks:
        owner = known.owner_of(session)
        subscriptions = known.subscriptions_of(owner)
        customer = owner.lago_customer_external_id if owner else None
        customer = customer or next((each.external_customer_id for each in subscriptions), None)
        return SessionBooks(
            session=session,
            slices=known.slices.get(session.id, ()),
            readings=known.readings.get(session.steve_transaction_id, ()),
            owner=owner,
            subscriptions=subscriptions,
            payers=known.by_id,
            lago_mirrored=known.lago_mirrored,
            zone=known.zones.get(customer or "", "UTC"),
            now=known.now,
            policy=self._policy,
        )

    def _new_slice(self, session: DueSession, new: Addition, index: int) -> NewSlice:
        piece, layer = new.cut, new.layer
        return NewSlice(
            session_id=session.id,
            slice_index=index,
            layer=layer,
            cut=piece,
            subscription=new.pays.subscription_external_id,
            late=new.pays.late,
            transaction_id=transaction_id(session, piece, layer=layer),
            event=event_text(session, piece, new.pays, index=index, layer=layer, metric_code=self._metric_code),
        )

    async def _known(self, uow: UnitOfWork, sessions: Sequence[DueSession], recovered: Mapping[int, Decided]) -> _Known:
        ledger, known = LedgerRepository(uow), [session.id for session in sessions if not session.is_new]
        mappings = TagMappingRepository(uow)
        attributed = await mappings.by_ids(
            {each.tag_mapping_id for each in sessions if each.tag_mapping_id is not None}
        )
        owners = await mappings.owners({each.id_tag for each in sessions if each.tag_mapping_id is None})
        payers = [*attributed.values(), *(owner for owner in owners.values() if owner is not None)]
        customers = {owner.lago_customer_external_id for owner in payers if owner.lago_customer_external_id}
        slices = await ledger.slices(known) if known else {}
        named = {owner.lago_subscription_external_id for owner in payers if owner.lago_subscription_external_id}
        named |= {each.subscription_external_id for cut in slices.values() for each in cut}
        subscriptions = await ledger.subscriptions(customers, named, metric_code=self._metric_code)
        return _Known(
            decided={**(await ledger.decided(known) if known else {}), **recovered},
            slices=slices,
            readings=await MeterRepository(uow).registers([session.steve_transaction_id for session in sessions]),
            owners=owners,
            attributed=attributed,
            by_customer=_grouped(subscriptions, lambda each: each.external_customer_id),
            by_id=_grouped(subscriptions, lambda each: each.external_id),
            zones=await ledger.zones(customers | {each.external_customer_id for each in subscriptions}),
            lago_mirrored=await ledger.lago_mirrored(),
            now=await ledger.moment(seconds_ago=0),
        )


def _grouped(
    subscriptions: Sequence[SubscriptionValue], key: Callable[[SubscriptionValue], str]
) -> dict[str, list[SubscriptionValue]]:
    groups: dict[str, list[SubscriptionValue]] = {}
    for each in subscriptions:
        groups.setdefault(key(each), []).append(each)
    return groups


def _status(decision: Decision, *, settled: bool) -> BillingStatus:
    match decision:
        case Held():
            return BillingStatus.HELD
        case Never():
            return BillingStatus.NOT_BILLABLE
        case Pays():
            return BillingStatus.BILLED if settled else BillingStatus.BILLING


def _announce_late(uow: UnitOfWork, sessions: Sequence[DueSession], late_wh: Mapping[int, int]) -> None:
    for session in sessions:
        if session.id in late_wh:
            uow.emit(
                LateEnergy(
                    audience=Audience((OPERATORS,)),
                    session_id=session.id,
                    transaction_id=session.steve_transaction_id,
                    charge_box_id=session.charge_box_id,
                    connector_id=session.connector_id,
                    user_mapping_id=session.tag_mapping_id,
                    late_wh=late_wh[session.id],
                )
            )
