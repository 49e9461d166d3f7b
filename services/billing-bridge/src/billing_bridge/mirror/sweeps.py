"""The mirror's lists: what each one reads, how often, and which mirrored objects it must have shown (lago.md §2.4)."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, and_, true

from billing_bridge.mirror.entities import (
    CUSTOMER,
    INVOICE,
    METRIC,
    PLAN,
    SUBSCRIPTION,
    WALLET,
    Entity,
    NotMirrorable,
    Raw,
    Row,
)
from billing_bridge.mirror.repository import MirrorRepository
from polaris_common.books.lago_move import is_accepted
from polaris_common.db import Database
from polaris_common.lago import LagoClient, wire
from polaris_common.models import LagoInvoice, LagoSubscription, LagoWallet
from polaris_common.observability.health import Component

log = structlog.get_logger(__name__)

CHUNK = 500
MAX_CONFIRMATIONS = 200
"""Objects that one pass asks Lago about one by one because its list did not show them; the rest waits."""
FEW_ABSENT = 10
"""A whole list may lack so many that we know; beyond, not more than it shows."""
_OPEN_INVOICES = ("draft", "pending", "failed")
_UNPAID = ("pending", "failed")
_MINUTE, _HOUR, _DAY = 60.0, 3_600.0, 86_400.0


def _everything(today: date) -> ColumnElement[bool]:
    return true()


@dataclass(frozen=True)
class Sweep:
    """One list of one kind of object."""

    entity: Entity
    source: Callable[[LagoClient, date], AsyncIterator[Raw]]
    """``source(lago, today)``: every page, to the end."""
    scope: Callable[[date], ColumnElement[bool]] = _everything
    """Which mirrored objects a complete list shows if they still exist."""
    component: Component | None = None
    """Where its last success is kept, which its cadence is counted from; None: read with every refresh."""
    seconds: float = 0

    @property
    def is_whole(self) -> bool:
        """Whether the list shows all of its kind."""
        return self.scope is _everything


NEEDED_FOR_BILLING = (
    Sweep(SUBSCRIPTION, lambda lago, today: lago.subscriptions()),
    Sweep(CUSTOMER, lambda lago, today: lago.customers()),
    Sweep(PLAN, lambda lago, today: lago.plans()),
    Sweep(METRIC, lambda lago, today: lago.billable_metrics()),
)

INVOICES = (
    Sweep(
        INVOICE,
        lambda lago, today: lago.invoices(statuses=_OPEN_INVOICES),
        lambda today: LagoInvoice.status.in_(_OPEN_INVOICES),
        Component.LAGO_INVOICES_OPEN,
        5 * _MINUTE,
    ),
    Sweep(
        INVOICE,
        lambda lago, today: lago.invoices(issued_from=today - timedelta(days=3)),
        lambda today: LagoInvoice.issuing_date >= today - timedelta(days=3),
        Component.LAGO_INVOICES_RECENT,
        _HOUR,
    ),
    Sweep(
        INVOICE,
        lambda lago, today: lago.invoices(payment_statuses=_UNPAID, issued_from=today - timedelta(days=60)),
        lambda today: and_(
            LagoInvoice.payment_status.in_(_UNPAID), LagoInvoice.issuing_date >= today - timedelta(days=60)
        ),
        Component.LAGO_INVOICES_UNPAID,
        _DAY,
    ),
    Sweep(INVOICE, lambda lago, today: lago.invoices(), component=Component.LAGO_INVOICES, seconds=7 * _DAY),
)

WALLETS_SECONDS = _HOUR


def wallets_of(customer: str) -> Sweep:
    """The wallets of one customer."""
    return Sweep(
        WALLET, lambda lago, today: lago.wallets(customer), lambda today: LagoWallet.external_customer_id == customer
    )


def subscriptions_of(customer: str) -> Sweep:
    """The subscriptions of one customer."""
    return Sweep(
        SUBSCRIPTION,
        lambda lago, today: lago.subscriptions(external_customer_id=customer),
        lambda today: LagoSubscription.external_customer_id == customer,
    )


@dataclass
class Swept:
    """What one pass did."""

    seen: int = 0
    changed: int = 0
    skipped: int = 0
    """Objects that could not be mirrored."""
    deleted: int = 0
    believable: bool = True
    """False: the list lacks more than it shows, so nothing was concluded from what it lacks."""


class Sweeper:
    """Carries out one pass over one list."""

    def __init__(self, database: Database, lago: LagoClient) -> None:
        self._database, self._lago = database, lago

    async def run(self, sweep: Sweep) -> Swept:
        """Read the list to its end, mirror it, then ask Lago about each object that it did not show.

        Raises:
            LagoUnavailable, LagoRefused: the list is not complete; what came is mirrored and nothing is deleted.
        """
        async with self._database.unit_of_work() as uow:
            read_at = await MirrorRepository(uow).moment()
        swept, seen, chunk = Swept(), set[str](), list[Row]()
        async for raw in sweep.source(self._lago, read_at.date()):
            swept.seen += 1
            self._take(sweep.entity, raw, seen, chunk, swept)
            if len(chunk) >= CHUNK:
                swept.changed += await self._write(sweep.entity, chunk, read_at)
                chunk.clear()
        swept.changed += await self._write(sweep.entity, chunk, read_at)
        await self._confirm_absent(sweep, seen, read_at, swept)
        if swept.changed or swept.skipped or swept.deleted:
            log.info("lago_swept", entity=sweep.entity.name, **vars(swept))
        return swept

    async def refetch(self, entity: Entity, lago_id: str, key: str) -> Swept:
        """Ask Lago about one object and mirror the answer.

        Raises:
            LagoUnavailable, LagoRefused: nothing is known; nothing is changed.
        """
        async with self._database.unit_of_work() as uow:
            read_at = await MirrorRepository(uow).moment()
        current = await entity.ask(self._lago, lago_id, key)
        swept, rows = Swept(), list[Row]()
        for raw in current.found:
            self._take(entity, raw, set(), rows, swept)
        async with self._database.unit_of_work() as uow:
            mirror = MirrorRepository(uow)
            if current.gone:
                swept.deleted += await mirror.mark_deleted(entity, lago_id, read_at=read_at)
            swept.changed += len(await mirror.upsert(entity, rows, read_at=read_at))
        return swept

    def _take(self, entity: Entity, raw: object, seen: set[str], chunk: list[Row], swept: Swept) -> None:
        """Turn one object into a row; one that cannot be is reported and left out."""
        try:
            if not isinstance(raw, dict):
                raise NotMirrorable("object")
            if lago_id := wire.text(raw, "lago_id"):
                seen.add(lago_id)
            chunk.append(entity.row(raw))
        except NotMirrorable as reason:
            swept.skipped += 1
            log.warning("lago_object_skipped", entity=entity.name, missing=str(reason))

    async def _write(self, entity: Entity, chunk: Sequence[Row], read_at: datetime) -> int:
        if not chunk:
            return 0
        async with self._database.unit_of_work() as uow:
            return len(await MirrorRepository(uow).upsert(entity, chunk, read_at=read_at))

    async def _confirm_absent(self, sweep: Sweep, seen: set[str], read_at: datetime, swept: Swept) -> None:
        """Another organisation's key, or a Lago that was emptied, confirms with a 404 that everything is gone.

        That is believed only when a person has accepted the other organisation.
        """
        most = max(FEW_ABSENT, len(seen))
        limit = max(MAX_CONFIRMATIONS, most + 1) if sweep.is_whole else MAX_CONFIRMATIONS
        async with self._database.unit_of_work() as uow:
            absent = await MirrorRepository(uow).absent(
                sweep.entity, sweep.scope(read_at.date()), seen, read_at=read_at, limit=limit
            )
        if sweep.is_whole and len(absent) > most and not await self._is_accepted(sweep.entity, seen):
            log.error("lago_list_not_believed", entity=sweep.entity.name, shown=len(seen))
            swept.believable = False
            return
        if len(absent) >= MAX_CONFIRMATIONS:
            log.warning("lago_many_absent", entity=sweep.entity.name)
        for lago_id, key in absent[:MAX_CONFIRMATIONS]:
            answer = await self.refetch(sweep.entity, lago_id, key)
            swept.changed += answer.changed
            swept.deleted += answer.deleted

    async def _is_accepted(self, entity: Entity, seen: set[str]) -> bool:
        async with self._database.unit_of_work() as uow:
            return await is_accepted(uow, entity.name, seen)
