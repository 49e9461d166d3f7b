"""What SteVe is told when it asks about a tag."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum

import structlog

from gateway.ocpp.recorder import shown
from gateway.ocpp.schemas import Tap
from gateway.ocpp.tap_facts import TapFactsQuery
from polaris_common.db import Database, UnitOfWork
from polaris_common.db.outages import is_outage
from polaris_common.domain.tap_decision import TapReason, objection_to
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.pairings import PairingRepository, Waiting

BUDGET_SECONDS = 0.15
"""SteVe waits 200 ms and then goes on without us."""
SHOWN_OF_ID_TAG = 4
_HOOK = Origin(route="/api/ocpp/pre-authorize")
_NO_OBJECTION = frozenset({TapReason.NO_OBJECTION, TapReason.UNDECIDED})

log = structlog.get_logger(__name__)


class Override(StrEnum):
    """What SteVe may be told instead of its own decision; it only ever turns an accepted tag into a blocked one."""

    BLOCKED = "BLOCKED"


@dataclass(frozen=True)
class Decision:
    """What to tell SteVe, and why."""

    reason: TapReason
    mapping_id: int | None = None
    """The mapping that answers for the tag."""

    @property
    def override(self) -> Override | None:
        """None leaves SteVe's own decision alone."""
        return None if self.reason in _NO_OBJECTION else Override.BLOCKED


class TapDecisions:
    """Decides whether a tap must be refused although SteVe would accept it."""

    def __init__(self, database: Database, audit: Audit, facts: TapFactsQuery, *, budget_seconds: float) -> None:
        self._database, self._audit, self._facts = database, audit, facts
        self.budget_seconds = budget_seconds

    async def decide(self, tap: Tap) -> Decision:
        """What SteVe is to be told about ``tap``.

        A card on a charger that waits for one is read for whoever asked, and charges nothing; the same card gets the
        same answer as long as that request stands. Without an answer in time SteVe's decision stands.
        """
        try:
            async with asyncio.timeout(self.budget_seconds):
                known = await self._facts.known_of(tap)
                if known.awaited:
                    async with self._database.unit_of_work() as uow:
                        if await self._intercepts(uow, tap):
                            return Decision(TapReason.SIGN_IN, known.mapping_id)
                return Decision(objection_to(known.facts), known.mapping_id)
        except Exception as error:
            if not isinstance(error, TimeoutError) and not is_outage(error):
                raise
            log.warning("tap_undecided", charge_box=shown(tap.charge_box_id), error=type(error).__name__)
            return Decision(TapReason.UNDECIDED)

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
