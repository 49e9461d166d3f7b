"""Watching what waits for Lago: old energy is told about, and energy whose billing period closes goes first.

What has been told is in the database, so each trouble is told once and its end once, however many bridges there are.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import structlog

from billing_bridge.sender.repository import LEASE_SECONDS
from billing_bridge.watch.repository import WatchRepository
from polaris_common.db import Database, UnitOfWork
from polaris_common.events.catalogue import OperatorNotice
from polaris_common.observability.billing_figures import BillingFigures, billing_figures

log = structlog.get_logger(__name__)

QUEUE = "lago-events"
"""The subject of an alert about everything that waits."""


class Alert(StrEnum):
    """What operators are told about; as ``billing_alerts.kind``."""

    UNSENT = "lago_events_delayed"
    CLOSED = "lago_period_closed_unsent"


@dataclass(frozen=True)
class WatchPolicy:
    """When operators are told."""

    unsent_after: timedelta = timedelta(minutes=15)
    close_margin: timedelta = timedelta(hours=1)
    """So long before a period closes, its events go first."""


class Watch:
    """Looks at what waits; any number may look side by side."""

    def __init__(self, database: Database, policy: WatchPolicy) -> None:
        self._database, self._policy = database, policy

    async def look(self) -> BillingFigures:
        """Hurry what must be hurried, tell what must be told; the figures."""
        async with self._database.unit_of_work() as uow:
            watch = WatchRepository(uow)
            hurried = await watch.hurry(margin=self._policy.close_margin, lease_seconds=LEASE_SECONDS)
            figures = await billing_figures(uow)
            await self._tell_age(uow, watch, figures)
            await self._tell_closed(uow, watch)
        if hurried:
            log.info("lago_events_hurried", events=hurried)
        return figures

    async def _tell_age(self, uow: UnitOfWork, watch: WatchRepository, figures: BillingFigures) -> None:
        if figures.oldest_unsent_seconds > self._policy.unsent_after.total_seconds():
            if await watch.raise_alert(Alert.UNSENT, QUEUE):
                minutes = int(figures.oldest_unsent_seconds // 60)
                log.error("lago_events_delayed", pending=figures.pending, oldest_minutes=minutes)
                uow.emit(_notice(Alert.UNSENT, "warn", QUEUE, f"events={figures.pending} oldest_minutes={minutes}"))
        elif await watch.clear_alerts(Alert.UNSENT):
            log.info("lago_events_recovered")
            uow.emit(_notice("lago_events_recovered", "info", QUEUE))

    async def _tell_closed(self, uow: UnitOfWork, watch: WatchRepository) -> None:
        missed = await watch.missed()
        for each in missed:
            if await watch.raise_alert(Alert.CLOSED, each.subscription):
                log.error("lago_period_closed_unsent", subscription=each.subscription, events=each.events)
                uow.emit(_notice(Alert.CLOSED, "error", each.subscription, f"events={each.events}", "subscription"))
        await watch.clear_alerts(Alert.CLOSED, still=[each.subscription for each in missed])


def _notice(
    kind: str, severity: str, subject: str, detail: str | None = None, source_type: str = "system"
) -> OperatorNotice:
    return OperatorNotice(kind=kind, severity=severity, source_type=source_type, source_id=subject, detail=detail)
