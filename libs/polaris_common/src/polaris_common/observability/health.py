"""What the workers know about SteVe, Lago and themselves, for the health page."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from polaris_common.db import UnitOfWork
from polaris_common.models import ComponentHealth

STALE_AFTER_SECONDS = 90
"""A component that nobody has looked at for so long is degraded."""


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
    SYNC = "sync"


async def report(uow: UnitOfWork, component: Component, *, error: str | None = None) -> None:
    """Note how ``component`` is doing: fine, or degraded with an ``error`` code."""
    status = "ok" if error is None else "degraded"
    values = {"component": component, "status": status, "error": error, "checked_at": func.now()}
    if error is None:
        values["last_success_at"] = func.now()
    changes = {name: value for name, value in values.items() if name != "component"}
    statement = insert(ComponentHealth).values(values).on_conflict_do_update(index_elements=["component"], set_=changes)
    await uow.execute(statement)


async def heartbeat(uow: UnitOfWork, component: Component) -> None:
    """Note that ``component``'s worker is alive, without judging how it is doing."""
    statement = insert(ComponentHealth).values(component=component, status="ok")
    await uow.execute(statement.on_conflict_do_update(index_elements=["component"], set_={"checked_at": func.now()}))


async def read(uow: UnitOfWork) -> dict[str, tuple[ComponentHealth, datetime]]:
    """The latest word on each component, with the database's time beside it."""
    rows = (await uow.execute(select(ComponentHealth, func.now().label("now")))).all()
    return {row.ComponentHealth.component: (row.ComponentHealth, row.now) for row in rows}
