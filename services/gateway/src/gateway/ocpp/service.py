"""What SteVe is told when it asks about a tag."""

import asyncio
from enum import StrEnum

import structlog

from gateway.ocpp.schemas import Tap
from polaris_common.db import Database, UnitOfWork
from polaris_common.db.outages import is_outage
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.pairings import PairingRepository, Waiting

BUDGET_SECONDS = 0.15
"""SteVe waits 200 ms and then goes on without us."""
SHOWN_OF_ID_TAG = 4
_HOOK = Origin(route="/api/ocpp/pre-authorize")

log = structlog.get_logger(__name__)


class Override(StrEnum):
    """What SteVe may be told instead of its own decision; it only ever turns an accepted tag into a blocked one."""

    BLOCKED = "BLOCKED"


class TapDecisions:
    """Decides whether a tap is meant for signing in and not for charging."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database, self._audit = database, audit

    async def decide(self, tap: Tap) -> Override | None:
        """Whether ``tap`` must be refused although SteVe would accept it; None leaves SteVe's decision alone.

        A card on a charger that waits for one is read for whoever asked, and charges nothing; the same card gets the
        same answer as long as that request stands. Without an answer in time SteVe's decision stands.
        """
        try:
            async with asyncio.timeout(BUDGET_SECONDS), self._database.unit_of_work() as uow:
                return Override.BLOCKED if await self._intercepts(uow, tap) else None
        except Exception as error:
            if not isinstance(error, TimeoutError) and not is_outage(error):
                raise
            log.warning("tap_undecided", charge_box_id=tap.charge_box_id, error=type(error).__name__)
            return None

    async def _intercepts(self, uow: UnitOfWork, tap: Tap) -> bool:
        pairings = PairingRepository(uow)
        waiting = await pairings.waiting_at(tap.charge_box_id)
        if waiting is None:
            return False
        if not waiting.armed:
            return _is_read(waiting, tap)
        # A car that begins to charge, or a driver whose car is charging, is not here to sign in.
        if tap.is_start or await pairings.has_open_session(tap.id_tag):
            return False
        if await pairings.match(waiting.pairing_id, tap.id_tag):
            await self._audit.record(
                uow,
                AuditEvent.SCAN_DETECTED,
                _HOOK,
                pairableType="charger",
                pairableId=tap.charge_box_id,
                idTagPrefix=tap.id_tag[:SHOWN_OF_ID_TAG],
            )
            return True
        # Another tap was faster; if it was with the same card, it is the same tap.
        waiting = await pairings.waiting_at(tap.charge_box_id)
        return waiting is not None and not waiting.armed and _is_read(waiting, tap)


def _is_read(waiting: Waiting, tap: Tap) -> bool:
    return waiting.matched == tap.id_tag.lower()
