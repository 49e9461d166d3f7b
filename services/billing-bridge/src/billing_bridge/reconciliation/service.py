"""Reconciliation: register ↔ ledger ↔ delivered ↔ Lago, compared regularly, differences shown until gone."""

from collections.abc import Sequence

import structlog

from billing_bridge.reconciliation.repository import FindingRepository
from polaris_common.books.three_way import (
    Difference,
    Kind,
    SubscriptionBooks,
    against_lago,
    internal_differences,
    lago_wh,
    subscription_books,
)
from polaris_common.db import Database
from polaris_common.energy import kwh_text
from polaris_common.events.catalogue import OPERATORS, Audience, BooksDiffer
from polaris_common.lago import LagoClient, LagoRefused, LagoUnavailable

log = structlog.get_logger(__name__)

GRACE_SECONDS = 300.0
"""Events younger than this may still be on their way."""

OF_LAGO = (Kind.MISSING_IN_LAGO, Kind.EXTRA_IN_LAGO)


class Reconciliation:
    """Compares the books and keeps the list of differences."""

    def __init__(self, database: Database, lago: LagoClient, *, metric_code: str) -> None:
        self._database, self._lago, self._metric_code = database, lago, metric_code

    async def check(self) -> list[Difference]:
        """Compare everything once; a Lago that does not answer leaves its differences as they were."""
        async with self._database.unit_of_work() as uow:
            differences = await internal_differences(uow, grace_seconds=GRACE_SECONDS)
            books = await subscription_books(uow)
        asked, of_lago = await self._against_lago(books)
        differences += of_lago
        await self._record(differences, asked)
        return differences

    async def _against_lago(self, books: Sequence[SubscriptionBooks]) -> tuple[set[str], list[Difference]]:
        asked: set[str] = set()
        differences: list[Difference] = []
        for each in books:
            try:
                usage = await self._lago.current_usage(each.customer, each.subscription)
            except (LagoUnavailable, LagoRefused) as error:
                log.warning("usage_not_read", subscription=each.subscription, error=str(error))
                continue
            asked.add(f"subscription:{each.subscription}")
            difference = against_lago(each, lago_wh(usage, self._metric_code))
            if difference is not None:
                differences.append(difference)
        return asked, differences

    async def _record(self, differences: Sequence[Difference], asked: set[str]) -> None:
        now = {(each.kind.value, each.subject) for each in differences}
        async with self._database.unit_of_work() as uow:
            findings = FindingRepository(uow)
            before = await findings.open_subjects()
            await findings.record(differences)
            for kind, subject in before - now:
                if kind not in OF_LAGO or subject in asked:
                    await findings.resolve(kind, subject)
            for each in differences:
                if (each.kind.value, each.subject) not in before:
                    uow.emit(_announcement(each))
        if differences:
            log.warning("books_differ", differences=len(differences))


def _announcement(difference: Difference) -> BooksDiffer:
    return BooksDiffer(
        audience=Audience((OPERATORS,)),
        kind=difference.kind.value,
        subject=difference.subject,
        subscription=difference.subscription,
        difference_kwh=kwh_text(difference.difference_wh),
    )
