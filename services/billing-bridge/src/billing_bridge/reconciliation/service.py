"""Reconciliation: register ↔ ledger ↔ delivered ↔ Lago ↔ invoices, compared regularly, differences shown until gone.

Nothing is repaired here. What Lago has lost is sent again only when an operator says so (``polaris billing resend``):
it means that Lago's store has lost data, which somebody must know, and the same bytes sent again cost nothing later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from billing_bridge.reconciliation.repository import FindingRepository
from polaris_common.books.invoices import invoice_differences
from polaris_common.books.lago_check import LagoCheck, UsageUnreadable
from polaris_common.books.three_way import Difference, Kind, Payer, internal_differences, payers
from polaris_common.db import AdvisoryLock, Database, LockName
from polaris_common.energy import kwh_text
from polaris_common.events.catalogue import OPERATORS, Audience, BooksDiffer
from polaris_common.lago import LagoClient, LagoRefused, LagoUnavailable
from polaris_common.observability.health import Component, read, report

log = structlog.get_logger(__name__)

GRACE_SECONDS = 300.0
"""Events younger than this may still be on their way."""
EVERY_SECONDS = 3_600.0
GIVE_UP_AFTER = 3
"""So many subscriptions in a row of which Lago tells nothing mean that it is away."""

OF_LAGO = (Kind.MISSING_IN_LAGO, Kind.EXTRA_IN_LAGO, Kind.VALUE_DIFFERS, Kind.USAGE_DIFFERS)


@dataclass
class _Told:
    """What Lago told."""

    differences: list[Difference] = field(default_factory=list)
    subjects: set[str] = field(default_factory=set)
    """What it could be asked about."""
    away: bool = False
    """It did not answer, or refused our key; not all were asked."""


class Reconciliation:
    """Compares the books and keeps the list of differences."""

    def __init__(
        self, database: Database, lago: LagoClient, *, metric_code: str, close_margin: timedelta = timedelta(hours=1)
    ) -> None:
        self._database, self._metric_code, self._close_margin = database, metric_code, close_margin
        self._lago_check = LagoCheck(database, lago, metric_code=metric_code)

    async def check_due(self) -> None:
        """Compare everything once an hour, and what is about to be invoiced each time; one bridge at a time."""
        async with AdvisoryLock(self._database, LockName.LAGO_RECONCILIATION) as lock:
            if not lock.held:
                return
            if await self._is_due():
                await self.check()
            else:
                await self.check_closing()

    async def check(self) -> list[Difference]:
        """Compare everything once; a Lago that does not answer leaves its differences as they were."""
        async with self._database.unit_of_work() as uow:
            differences = await internal_differences(uow, grace_seconds=GRACE_SECONDS)
            differences += await invoice_differences(uow, metric_code=self._metric_code)
            subscriptions = await payers(uow, metric_code=self._metric_code)
        told = await self._against_lago(subscriptions)
        differences += told.differences
        await self._record(differences, told.subjects, everything=True)
        async with self._database.unit_of_work() as uow:
            await report(uow, Component.LAGO_BOOKS, error="incomplete" if told.away else None)
        return differences

    async def check_closing(self) -> list[Difference]:
        """Compare with Lago, while it can still be put right, what is about to be invoiced."""
        async with self._database.unit_of_work() as uow:
            closing = await payers(uow, metric_code=self._metric_code, closing_within=self._close_margin)
        told = await self._against_lago(closing)
        await self._record(told.differences, told.subjects, everything=False)
        return told.differences

    async def _is_due(self) -> bool:
        """Whether the last complete comparison is an hour ago; an incomplete one is tried again at once."""
        async with self._database.unit_of_work() as uow:
            known = (await read(uow)).get(Component.LAGO_BOOKS)
        if known is None or known[0].error is not None:
            return True
        row, now = known
        return bool((now - row.checked_at).total_seconds() >= EVERY_SECONDS)

    async def _against_lago(self, subscriptions: Sequence[Payer]) -> _Told:
        told, unanswered = _Told(), 0
        for each in subscriptions:
            try:
                told.differences += await self._lago_check.compare(each)
            except (LagoUnavailable, LagoRefused, UsageUnreadable) as error:
                log.warning("usage_not_read", subscription=each.subscription, error=str(error))
                if _is_away(error):
                    told.away, unanswered = True, unanswered + 1
                if unanswered == GIVE_UP_AFTER:
                    break
            else:
                unanswered = 0
                told.subjects.add(f"subscription:{each.subscription}")
        return told

    async def _record(self, differences: Sequence[Difference], asked: set[str], *, everything: bool) -> None:
        now = {(each.kind.value, each.subject) for each in differences}
        async with self._database.unit_of_work() as uow:
            findings = FindingRepository(uow)
            before = await findings.open_subjects()
            await findings.record(differences)
            for kind, subject in before - now:
                if subject in asked if kind in OF_LAGO else everything:
                    await findings.resolve(kind, subject)
            for each in differences:
                if (each.kind.value, each.subject) not in before:
                    uow.emit(_announcement(each))
        if differences:
            log.warning("books_differ", differences=len(differences))


def _is_away(error: Exception) -> bool:
    """Whether the next subscription will fare no better: no answer, or none for our key."""
    match error:
        case LagoUnavailable() | LagoRefused(status=401 | 403):
            return True
        case _:
            return False


def _announcement(difference: Difference) -> BooksDiffer:
    return BooksDiffer(
        audience=Audience((OPERATORS,)),
        kind=difference.kind.value,
        subject=difference.subject,
        subscription=difference.subscription,
        difference_kwh=kwh_text(difference.difference_wh),
    )
