"""The mirror of Lago: who pays, and for what, is decided from here, never by a call in the middle of billing."""

from datetime import datetime

import structlog

from billing_bridge.ledger.service import Ledger
from billing_bridge.mirror.cards import switch_cards
from billing_bridge.mirror.entities import FEE, INVOICE, SUBSCRIPTION, Entity, NotMirrorable, Row
from billing_bridge.mirror.repository import FINAL_INVOICE, MirrorRepository
from billing_bridge.mirror.run_segments import Reading, RunSegments, Segment
from billing_bridge.mirror.sweeps import (
    INVOICES,
    NEEDED_FOR_BILLING,
    WALLETS_SECONDS,
    Sweep,
    Sweeper,
    Swept,
    subscriptions_of,
    wallets_of,
)
from billing_bridge.safety.service import SafetyGate
from polaris_common.db import AdvisoryLock, Database, LockName
from polaris_common.lago import LagoClient, LagoNotFound, LagoRefused, LagoUnavailable, wire
from polaris_common.observability.health import Component, read, report

log = structlog.get_logger(__name__)

FEES_A_PASS = 1_000
"""Invoices whose fees are fetched in one pass; the rest waits for the next."""
LIST_NOT_BELIEVED = "list_not_believed"
GIVE_UP_AFTER = 3
"""Customers in a row whose wallets cannot be read before the pass ends: Lago is away."""


class Mirror:
    """Copies Lago's objects; nothing is removed because a list did not show it."""

    def __init__(self, database: Database, lago: LagoClient, ledger: Ledger, gate: SafetyGate | None = None) -> None:
        self._database, self._lago, self._ledger, self._gate = database, lago, ledger, gate
        self._sweeper, self._segments = Sweeper(database, lago), RunSegments(database)

    async def refresh(self) -> None:
        """Read everything that billing needs now, unless another bridge is at it; then look again at what was held.

        That is subscriptions of every status, customers, plans and metrics; then the safety gate looks at the metric,
        and cards follow subscriptions that ended or began.
        """
        async with AdvisoryLock(self._database, LockName.LAGO_MIRROR) as lock:
            if not lock.held:
                return
            changed = await self._read_needed()
        if changed:
            await self._ledger.bill_held(older_than_seconds=0)

    async def sweep_due(self) -> None:
        """Read invoices and wallets, each list when its time has come, unless another bridge is at it."""
        async with AdvisoryLock(self._database, LockName.LAGO_SWEEPS) as lock:
            if not lock.held:
                return
            try:
                await self._sweep_invoices_if_due()
                await self._sweep_wallets_if_due()
            except (LagoUnavailable, LagoRefused) as error:
                log.warning("lago_sweep_failed", error=type(error).__name__, reason=str(error))

    async def fetch_fees(self) -> None:
        """Fetch the fees of finalised invoices that are new or have changed.

        Raises:
            LagoUnavailable: Lago is away; the rest waits for the next pass.
        """
        async with self._database.unit_of_work() as uow:
            waiting = await MirrorRepository(uow).invoices_without_fees(FEES_A_PASS)
        for lago_id in waiting:
            try:
                await self.refetch_invoice(lago_id)
            except (LagoRefused, NotMirrorable) as error:
                log.warning("lago_fees_skipped", invoice=lago_id, reason=str(error))

    async def refetch_invoice(self, lago_id: str) -> None:
        """Ask Lago about one invoice and mirror it, with its fees once it is final.

        Raises:
            LagoUnavailable, LagoRefused, NotMirrorable: nothing is known.
        """
        try:
            await self._fetch_invoice(lago_id)
        except LagoNotFound:
            await self._sweeper.refetch(INVOICE, lago_id, lago_id)

    async def refetch(self, entity: Entity, lago_id: str, key: str) -> None:
        """Ask Lago about one object and mirror the answer.

        Raises:
            LagoUnavailable, LagoRefused: nothing is known.
        """
        await self._sweeper.refetch(entity, lago_id, key)

    async def refetch_subscriptions(self, customer: str) -> None:
        """Read all subscriptions of one customer.

        Raises:
            LagoUnavailable, LagoRefused: nothing is known.
        """
        await self._sweeper.run(subscriptions_of(customer))

    async def _read_needed(self) -> bool:
        changed, believable = False, True
        problem: LagoUnavailable | LagoRefused | None = None
        run_id = await self._segments.waiting(Segment.SUBSCRIPTIONS)
        for sweep in NEEDED_FOR_BILLING:
            try:
                async with self._segments.recorded(run_id, Segment(f"lago_{sweep.entity.name}s")) as reading:
                    reading.add(swept := await self._sweeper.run(sweep))
            except LagoUnavailable as away:
                problem = away
                break
            except LagoRefused as refused:
                problem = problem or refused
            else:
                changed = changed or swept.changed > 0 or swept.deleted > 0
                believable = believable and swept.believable
                if sweep.entity is SUBSCRIPTION and swept.believable:
                    await self._subscriptions_are_complete(run_id)
        if problem is not None:
            log.warning("lago_mirror_failed", error=type(problem).__name__, reason=str(problem))
        stopped = await self._gate.check() if self._gate is not None and problem is None else None
        code = error_code(problem) if problem is not None else stopped
        await self._note(Component.LAGO, code if believable else code or LIST_NOT_BELIEVED)
        return changed

    async def _subscriptions_are_complete(self, run_id: int | None) -> None:
        async with self._segments.recorded(run_id, Segment.CARDS) as reading, self._database.unit_of_work() as uow:
            reading.add(Swept(changed=len(await switch_cards(uow))))
            await report(uow, Component.LAGO_MIRROR)

    async def _sweep_invoices_if_due(self) -> None:
        run_id = await self._segments.waiting(Segment.INVOICES)
        async with self._segments.recorded(run_id, Segment.INVOICES) as reading:
            for sweep in INVOICES:
                if sweep.component is not None and await self._is_due(sweep.component, sweep.seconds):
                    reading.add(await self._sweep(sweep, sweep.component))
            await self.fetch_fees()

    async def _sweep(self, sweep: Sweep, component: Component) -> Swept:
        try:
            swept = await self._sweeper.run(sweep)
        except (LagoUnavailable, LagoRefused) as error:
            await self._note(component, error_code(error))
            raise
        await self._note(component, None)
        return swept

    async def _sweep_wallets_if_due(self) -> None:
        run_id = await self._segments.waiting(Segment.WALLETS)
        async with self._segments.recorded(run_id, Segment.WALLETS) as reading:
            if await self._is_due(Component.LAGO_WALLETS, WALLETS_SECONDS):
                await self._note(Component.LAGO_WALLETS, await self._sweep_wallets(reading))

    async def _sweep_wallets(self, reading: Reading) -> str | None:
        """Customer by customer; one whose wallets cannot be read loses none."""
        async with self._database.unit_of_work() as uow:
            customers = await MirrorRepository(uow).customers()
        problem, failed_in_a_row = None, 0
        for customer in customers:
            try:
                reading.add(await self._sweeper.run(wallets_of(customer)))
            except (LagoUnavailable, LagoRefused) as error:
                reading.add(Swept(skipped=1))
                problem, failed_in_a_row = error_code(error), failed_in_a_row + 1
                log.warning("lago_wallets_skipped", customer=customer, reason=str(error))
                if failed_in_a_row == GIVE_UP_AFTER:
                    break
            else:
                failed_in_a_row = 0
        return problem

    async def _fetch_invoice(self, lago_id: str) -> None:
        async with self._database.unit_of_work() as uow:
            read_at = await MirrorRepository(uow).moment()
        raw = await self._lago.invoice(lago_id)
        row, fees = INVOICE.row(raw), list[Row]()
        if row["status"] not in FINAL_INVOICE:
            async with self._database.unit_of_work() as uow:
                await MirrorRepository(uow).upsert(INVOICE, [row], read_at=read_at)
            return
        for fee in wire.objects(raw, "fees"):
            try:
                fees.append(FEE.row({**fee, "lago_invoice_id": lago_id}))
            except NotMirrorable as reason:
                log.warning("lago_object_skipped", entity=FEE.name, missing=str(reason))
        async with self._database.unit_of_work() as uow:
            absent = await MirrorRepository(uow).complete_invoice(row, fees, read_at=read_at)
        for fee_id, key in absent:
            await self._sweeper.refetch(FEE, fee_id, key)

    async def _is_due(self, component: Component, seconds: float) -> bool:
        async with self._database.unit_of_work() as uow:
            known = (await read(uow)).get(component)
        if known is None:
            return True
        row, now = known
        last: datetime | None = row.last_success_at
        return last is None or (now - last).total_seconds() >= seconds

    async def _note(self, component: Component, error: str | None) -> None:
        async with self._database.unit_of_work() as uow:
            await report(uow, component, error=error)


def error_code(error: LagoUnavailable | LagoRefused) -> str:
    """What the health page says about a failed call."""
    match error:
        case LagoRefused(status=401 | 403):
            return "credentials_refused"
        case LagoRefused():
            return "unexpected_answer"
        case _:
            return "unreachable"
