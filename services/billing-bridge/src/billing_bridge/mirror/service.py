"""The mirror of Lago's subscriptions: who pays is decided from here, never by a call in the middle of billing."""

from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert

from billing_bridge.ledger.service import Ledger
from polaris_common.db import AdvisoryLock, Database, LockName, UnitOfWork
from polaris_common.lago import LagoClient, LagoRefused, LagoUnavailable
from polaris_common.models import LagoSubscription
from polaris_common.observability.health import Component, report

log = structlog.get_logger(__name__)

CHUNK = 1_000


class Mirror:
    """Copies Lago's subscriptions, all statuses; nothing is removed because a list did not show it."""

    def __init__(self, database: Database, lago: LagoClient, ledger: Ledger) -> None:
        self._database, self._lago, self._ledger = database, lago, ledger

    async def refresh(self) -> None:
        """Read every subscription, unless another bridge is at it; then look again at what was held."""
        async with AdvisoryLock(self._database, LockName.LAGO_MIRROR) as lock:
            if not lock.held:
                return
            try:
                rows = [_row(raw) async for raw in self._lago.subscriptions()]
            except (LagoUnavailable, LagoRefused, KeyError, ValueError) as error:
                log.warning("lago_mirror_failed", error=type(error).__name__, reason=str(error))
                async with self._database.unit_of_work() as uow:
                    await report(uow, Component.LAGO, error=_code(error))
                return
            async with self._database.unit_of_work() as uow:
                changed = await _upsert(uow, rows)
                await report(uow, Component.LAGO)
                await report(uow, Component.LAGO_MIRROR)
        if changed:
            log.info("lago_mirror", subscriptions=len(rows), changed=changed)
            await self._ledger.bill_held(older_than_seconds=0)


async def _upsert(uow: UnitOfWork, rows: list[dict[str, Any]]) -> int:
    changed = 0
    for begin in range(0, len(rows), CHUNK):
        statement = insert(LagoSubscription).values(rows[begin : begin + CHUNK])
        names = [name for name in rows[begin] if name != "lago_id"]
        differs = func.row(*(getattr(LagoSubscription, name) for name in names)).is_distinct_from(
            func.row(*(statement.excluded[name] for name in names))
        )
        changed += await uow.write(
            statement.on_conflict_do_update(
                index_elements=["lago_id"],
                set_={**{name: statement.excluded[name] for name in names}, "mirrored_at": func.now()},
                where=differs,
            )
        )
    return changed


def _row(raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "lago_id": str(raw["lago_id"]),
        "external_id": str(raw["external_id"]),
        "external_customer_id": str(raw["external_customer_id"]),
        "plan_code": str(raw["plan_code"]),
        "status": str(raw["status"]),
        "started_at": _time(raw.get("started_at")),
        "terminated_at": _time(raw.get("terminated_at")),
    }


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _code(error: Exception) -> str:
    match error:
        case LagoUnavailable():
            return "unreachable"
        case LagoRefused(status=401 | 403):
            return "credentials_refused"
        case _:
            return "unexpected_answer"
