"""The safety gate: nothing is sent while Lago's metric would not count it (domain.md §3.4).

Lago accepts every event and silently bills zero when the metric reads another field. The last verdict is kept in the
database, shared by all bridges; a Lago that cannot be asked leaves it as it is.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from polaris_common.db import Database, UnitOfWork
from polaris_common.events.catalogue import BillingResumed, BillingStopped, OperatorNotice
from polaris_common.lago import LagoClient, LagoNotFound, LagoRefused, LagoUnavailable, wire
from polaris_common.models import ComponentHealth
from polaris_common.observability.health import METRIC_MISCONFIGURED as MISCONFIGURED
from polaris_common.observability.health import Component, report

log = structlog.get_logger(__name__)

ASK_AGAIN_SECONDS = 15.0
"""Between two questions of a sender to a Lago that has never answered."""

PLAN_WITHOUT_CHARGE = "plan_without_charge"
"""A plan in use has no charge for our metric: a warning, since a flat rate may be meant."""

# Plans of active subscriptions that an active card resolves to.
_PLANS_WITHOUT_CHARGE = text("""
    SELECT DISTINCT p.code FROM lago_plans p
    JOIN lago_subscriptions s ON s.plan_code = p.code AND s.status = 'active' AND s.deleted_at IS NULL
    JOIN tag_mappings m ON m.is_active AND CASE WHEN m.lago_subscription_external_id IS NOT NULL
        THEN m.lago_subscription_external_id = s.external_id
        ELSE m.lago_customer_external_id = s.external_customer_id END
    WHERE p.deleted_at IS NULL AND NOT CAST(:metric AS text) = ANY(p.metric_codes)
    ORDER BY p.code
""")


class SafetyGate:
    """Says whether events may be sent."""

    def __init__(self, database: Database, lago: LagoClient, metric_code: str) -> None:
        self._database, self._lago, self._metric_code = database, lago, metric_code
        self._asked_at = -math.inf

    async def sending_allowed(self) -> bool:
        """Whether the last verdict lets events go.

        Before the first one Lago is asked, now and then; without its answer none go.
        """
        async with self._database.unit_of_work() as uow:
            known, error = await _last_verdict(uow)
        if not known and time.monotonic() - self._asked_at >= ASK_AGAIN_SECONDS:
            self._asked_at = time.monotonic()
            await self.check()
            async with self._database.unit_of_work() as uow:
                known, error = await _last_verdict(uow)
        return known and error != MISCONFIGURED

    async def check(self) -> str | None:
        """Look at the metric and the plans; what is said about Lago's health then (None: all is well).

        Never raises for Lago's sake: when it cannot be asked, or refuses our key, the last verdict stands.
        """
        try:
            wrong = whats_wrong(await self._lago.billable_metric(self._metric_code))
        except LagoNotFound:
            wrong = "missing"
        except (LagoUnavailable, LagoRefused) as error:
            log.warning("safety_gate_not_checked", error=type(error).__name__)
            async with self._database.unit_of_work() as uow:
                _, last = await _last_verdict(uow)
            return MISCONFIGURED if last == MISCONFIGURED else None
        async with self._database.unit_of_work() as uow:
            return await self._judge(uow, wrong)

    async def _judge(self, uow: UnitOfWork, wrong: str | None) -> str | None:
        plans = list((await uow.execute(_PLANS_WITHOUT_CHARGE, {"metric": self._metric_code})).scalars())
        verdict = MISCONFIGURED if wrong else PLAN_WITHOUT_CHARGE if plans else None
        before = await _lock_verdict(uow)
        await report(uow, Component.LAGO_METRIC, error=verdict)
        if wrong and before != MISCONFIGURED:
            log.error("billing_stopped", metric=self._metric_code, reason=wrong)
            uow.emit(BillingStopped(reason=wrong, metric_code=self._metric_code))
        if not wrong and before == MISCONFIGURED:
            log.warning("billing_resumed", metric=self._metric_code)
            uow.emit(BillingResumed(metric_code=self._metric_code))
        if verdict == PLAN_WITHOUT_CHARGE and before != PLAN_WITHOUT_CHARGE:
            _warn_about_plans(uow, plans)
        if wrong:
            await report(uow, Component.LAGO, error=MISCONFIGURED)
        elif before == MISCONFIGURED:
            await report(uow, Component.LAGO)
        return MISCONFIGURED if wrong else None


def whats_wrong(metric: Mapping[str, Any]) -> str | None:
    """Why the metric would not sum up our ``value`` property over a period, or None if it does."""
    if wire.text(metric, "aggregation_type") != "sum_agg":
        return "aggregation_type"
    if wire.text(metric, "field_name") != "value":
        return "field_name"
    return "recurring" if wire.flag(metric, "recurring") else None


def _warn_about_plans(uow: UnitOfWork, plans: list[str]) -> None:
    log.warning("plans_without_charge", plans=plans)
    for code in plans:
        uow.emit(OperatorNotice(kind="lago_plan_without_charge", severity="warn", source_type="plan", source_id=code))


async def _last_verdict(uow: UnitOfWork) -> tuple[bool, str | None]:
    query = select(ComponentHealth.error).where(ComponentHealth.component == Component.LAGO_METRIC)
    row = (await uow.execute(query)).one_or_none()
    return row is not None, row.error if row is not None else None


async def _lock_verdict(uow: UnitOfWork) -> str | None:
    """The last verdict, held until this unit of work ends: two bridges tell a change once."""
    fresh = insert(ComponentHealth).values(component=Component.LAGO_METRIC, status="ok", checked_at=func.now())
    await uow.execute(fresh.on_conflict_do_nothing(index_elements=["component"]))
    query = select(ComponentHealth.error).where(ComponentHealth.component == Component.LAGO_METRIC).with_for_update()
    error: str | None = (await uow.execute(query)).scalar_one()
    return error
