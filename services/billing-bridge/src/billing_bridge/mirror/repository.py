"""Every query on the mirror: chunks are written in one statement, and an older state never replaces a newer one."""

import json
from collections.abc import Collection, Sequence
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import ColumnElement, Table, all_, func, inspect, literal, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from billing_bridge.mirror.entities import ENTITIES, FEE, INVOICE, Entity, Row
from polaris_common.db import UnitOfWork
from polaris_common.models import LagoCustomer, LagoFee, LagoInvoice

FINAL_INVOICE = ("finalized", "voided")
"""Statuses in which an invoice's fees do not change any more."""
_OURS = frozenset({"lago_id", "mirrored_at", "deleted_at", "fees_mirrored_at"})


class MirrorRepository:
    """The mirror within one unit of work."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def moment(self) -> datetime:
        """Now, by the database's clock; taken before reading from Lago."""
        now: datetime = (await self._uow.execute(select(func.clock_timestamp()))).scalar_one()
        return now

    async def upsert(self, entity: Entity, rows: Collection[Row], *, read_at: datetime) -> list[str]:
        """Write what Lago showed; the Lago ids of the rows that changed.

        Lago's own time of the last change decides which state is newer; where it is the same, or Lago tells none, the
        state whose reading began later (``read_at``) does.
        """
        if not rows:
            return []
        newest = {row["lago_id"]: row for row in rows}
        stamped = [{**newest[lago_id], "mirrored_at": read_at} for lago_id in sorted(newest)]
        result = await self._uow.execute(text(_UPSERTS[entity.name]), {"rows": json.dumps(stamped, default=_as_text)})
        return list(result.scalars())

    async def absent(
        self, entity: Entity, scope: ColumnElement[bool], seen: Collection[str], *, read_at: datetime, limit: int
    ) -> list[tuple[str, str]]:
        """Mirrored objects in ``scope`` that a complete list did not show: (Lago id, key for Lago's route)."""
        model = entity.model
        query = (
            select(model.lago_id, getattr(model, entity.key).label("key"))
            .where(
                scope,
                model.deleted_at.is_(None),
                model.mirrored_at <= read_at,
                model.lago_id != all_(literal(list(seen), ARRAY(Text()))),
            )
            .order_by(model.lago_id)
            .limit(limit)
        )
        return [(row.lago_id, row.key) for row in (await self._uow.execute(query)).all()]

    async def mark_deleted(self, entity: Entity, lago_id: str, *, read_at: datetime) -> bool:
        """Lago has confirmed that the object is gone; False if a later reading found it after all."""
        model = entity.model
        statement = (
            update(_table(entity))
            .where(model.lago_id == lago_id, model.deleted_at.is_(None), model.mirrored_at <= read_at)
            .values(deleted_at=func.now(), mirrored_at=read_at)
        )
        return bool(await self._uow.write(statement))

    async def customers(self) -> list[str]:
        """The external ids of all customers."""
        query = select(LagoCustomer.external_id).where(LagoCustomer.deleted_at.is_(None)).order_by("external_id")
        return list((await self._uow.execute(query)).scalars())

    async def invoices_without_fees(self, limit: int) -> list[str]:
        """Finalised invoices whose fees are not mirrored yet, newest first."""
        query = (
            select(LagoInvoice.lago_id)
            .where(
                LagoInvoice.status.in_(FINAL_INVOICE),
                LagoInvoice.fees_mirrored_at.is_(None),
                LagoInvoice.deleted_at.is_(None),
            )
            .order_by(LagoInvoice.issuing_date.desc().nulls_last(), LagoInvoice.lago_id)
            .limit(limit)
        )
        return list((await self._uow.execute(query)).scalars())

    async def complete_invoice(self, row: Row, fees: Sequence[Row], *, read_at: datetime) -> list[tuple[str, str]]:
        """Keep a whole invoice and its fees; the mirrored fees that it no longer shows."""
        await self.upsert(INVOICE, [row], read_at=read_at)
        lago_id = row["lago_id"]
        kept = LagoInvoice.lago_updated_at.is_not_distinct_from(row["lago_updated_at"])
        await self._uow.execute(
            update(LagoInvoice)
            .where(LagoInvoice.lago_id == lago_id, kept)
            .values(payload=row["payload"], fees_mirrored_at=func.now())
        )
        await self.upsert(FEE, fees, read_at=read_at)
        scope = LagoFee.invoice_lago_id == lago_id
        return await self.absent(FEE, scope, [fee["lago_id"] for fee in fees], read_at=read_at, limit=1_000)


def _upsert_statement(entity: Entity) -> str:
    """One statement for a chunk of any size: the rows travel as one JSON text, numbers exactly."""
    table = _table(entity).name
    columns = [column.key for column in inspect(entity.model).columns if column.key not in _OURS]
    names = ", ".join(f'"{name}"' for name in ["lago_id", "mirrored_at", *columns])
    told = [name for name in columns if entity.payload_tells or name != "payload"]
    changes = [*(f'"{name}" = excluded."{name}"' for name in columns), "mirrored_at = excluded.mirrored_at"]
    if entity is INVOICE:
        changes.append("fees_mirrored_at = NULL")
    before = ", ".join(f't."{name}"' for name in told)
    after = ", ".join(f'excluded."{name}"' for name in told)
    return f"""
        INSERT INTO {table} AS t ({names})
        SELECT {names} FROM jsonb_populate_recordset(CAST(NULL AS {table}), CAST(:rows AS jsonb))
        ON CONFLICT (lago_id) DO UPDATE SET {", ".join(changes)}, deleted_at = NULL
        WHERE (ROW({before}) IS DISTINCT FROM ROW({after}) OR t.deleted_at IS NOT NULL)
          AND (excluded.lago_updated_at > t.lago_updated_at
               OR (excluded.lago_updated_at >= t.lago_updated_at) IS NOT FALSE
                  AND excluded.mirrored_at >= t.mirrored_at)
        RETURNING lago_id
    """  # noqa: S608 - the names are our own columns


def _table(entity: Entity) -> Table:
    table = inspect(entity.model).local_table
    if not isinstance(table, Table):
        raise TypeError(entity.name)
    return table


def _as_text(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"not JSON: {type(value).__name__}")


_UPSERTS = {entity.name: _upsert_statement(entity) for entity in ENTITIES}
