"""What the workers know about SteVe, Lago and themselves, for the health page and for operators."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from polaris_common.clock import to_wire
from polaris_common.db import UnitOfWork
from polaris_common.events.catalogue import ComponentDown, ComponentRecovered
from polaris_common.models import ComponentHealth

STALE_AFTER_SECONDS = 90
"""A component that nobody has looked at for so long is degraded."""

TOLD_AFTER_SECONDS = 120
"""Operators hear of an outage that lasts so long; a restart is none."""


class Component(StrEnum):
    """What the workers watch."""

    STEVE = "steve"
    LAGO = "lago"
    LAGO_MIRROR = "lago_mirror"
    """Its last success says that the mirror has been complete once."""
    LAGO_INVOICES = "lago_invoices"
    """Its last success is when all invoices were last read; that of the next four, when their part was."""
    LAGO_INVOICES_OPEN = "lago_invoices_open"
    LAGO_INVOICES_RECENT = "lago_invoices_recent"
    LAGO_INVOICES_UNPAID = "lago_invoices_unpaid"
    LAGO_WALLETS = "lago_wallets"
    LAGO_METRIC = "lago_metric"
    """The safety gate's last verdict on the billable metric and the plans."""
    LAGO_WEBHOOKS = "lago_webhooks"
    LAGO_BOOKS = "lago_books"
    """When everything was last compared."""
    LEDGER_HOME = "ledger_home"
    """Whether the ledger is known to be complete in this database; nothing is billed before."""
    SYNC = "sync"


METRIC_MISCONFIGURED = "metric_misconfigured"
"""The safety gate's verdict that stops sending."""

_OUTAGES_TOLD = frozenset({Component.STEVE, Component.LAGO})
_NO_OUTAGE = frozenset({"not_configured", METRIC_MISCONFIGURED})
"""Nobody is away: it was never there, or operators hear of it otherwise."""

_STANDING = (
    ComponentHealth.failing_since,
    ComponentHealth.told_at,
    (ComponentHealth.failing_since < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, TOLD_AFTER_SECONDS)).label(
        "lasts"
    ),
)


async def report(uow: UnitOfWork, component: Component, *, error: str | None = None) -> None:
    """Note how ``component`` is doing: fine, or degraded with an ``error`` code.

    Operators hear of SteVe and Lago being away, and of their return, once each, however many probes say so.
    """
    values: dict[str, Any] = {"component": component, "error": error, "checked_at": func.now()}
    if error is None:
        values |= {"status": "ok", "last_success_at": func.now(), "failing_since": None}
    else:
        values |= {"status": "degraded", "failing_since": func.now()}
    changes = {name: value for name, value in values.items() if name != "component"}
    if error is not None:
        changes["failing_since"] = func.coalesce(ComponentHealth.failing_since, func.now())
    statement = insert(ComponentHealth).values(values).on_conflict_do_update(index_elements=["component"], set_=changes)
    if component not in _OUTAGES_TOLD:
        await uow.execute(statement)
        return
    row = (await uow.execute(statement.returning(*_STANDING))).one()
    if error is None:
        if row.told_at is not None:
            await _tell(uow, ComponentRecovered(component=component, told_at=to_wire(row.told_at)), told_at=None)
    elif row.told_at is None and row.lasts and error not in _NO_OUTAGE:
        down = ComponentDown(component=component, error=error, since=to_wire(row.failing_since))
        await _tell(uow, down, told_at=func.now())


async def _tell(uow: UnitOfWork, event: ComponentDown | ComponentRecovered, *, told_at: Any) -> None:
    """The report holds the component's row, so nobody tells it at the same time."""
    uow.emit(event)
    await uow.execute(
        update(ComponentHealth)
        .where(ComponentHealth.component == event.component)
        .values(told_at=told_at)
        .execution_options(synchronize_session=False)
    )


async def heartbeat(uow: UnitOfWork, component: Component) -> None:
    """Note that ``component``'s worker is alive, without judging how it is doing."""
    statement = insert(ComponentHealth).values(component=component, status="ok")
    await uow.execute(statement.on_conflict_do_update(index_elements=["component"], set_={"checked_at": func.now()}))


async def read(uow: UnitOfWork) -> dict[str, tuple[ComponentHealth, datetime]]:
    """The latest word on each component, with the database's time beside it."""
    rows = (await uow.execute(select(ComponentHealth, func.now().label("now")))).all()
    return {row.ComponentHealth.component: (row.ComponentHealth, row.now) for row in rows}
