"""Events whose billing period closed before Lago got them: as they are, Lago would take them and bill nothing.

The late rule (lago.md §7.4) is decided before an event is sent first. One that was never sent is stamped into the open
period at once. One that was sent, with no answer, is first looked for in Lago, when whatever was on its way has had the
time to arrive; only what is not there is stamped anew.
"""

import json
from collections.abc import Sequence
from datetime import datetime

import structlog

from billing_bridge.ledger.event_text import encode, unix_text
from billing_bridge.sender.repository import LagoEventRepository, Overdue
from polaris_common.clock import Clock
from polaris_common.db import Database, UnitOfWork
from polaris_common.events.catalogue import OPERATORS, Audience, LateEnergy
from polaris_common.lago import LagoClient, LagoNotFound, LagoRefused, LagoUnavailable

log = structlog.get_logger(__name__)

AT_ONCE = 500


class OverdueEvents:
    """Finds them, asks Lago about those that may have arrived, and stamps the others anew."""

    def __init__(self, database: Database, lago: LagoClient, clock: Clock) -> None:
        self._database, self._lago, self._clock = database, lago, clock

    async def settle(self) -> None:
        """Deal with all that can be dealt with now; what Lago cannot be asked about waits unsent."""
        async with self._database.unit_of_work() as uow:
            await LagoEventRepository(uow).mark_overdue()
        while True:
            async with self._database.unit_of_work() as uow:
                overdue = await LagoEventRepository(uow).overdue(AT_ONCE)
            if not overdue:
                return
            try:
                arrived = [event for event in overdue if event.attempts and await self._has_arrived(event)]
            except (LagoUnavailable, LagoRefused) as error:
                log.warning("overdue_events_wait", events=len(overdue), error=type(error).__name__)
                return
            lost = [event for event in overdue if event not in arrived]
            async with self._database.unit_of_work() as uow:
                await self._stamp_anew(uow, lost)
                await LagoEventRepository(uow).delivered([event.id for event in arrived])

    async def _has_arrived(self, event: Overdue) -> bool:
        try:
            await self._lago.event(event.transaction_id)
        except LagoNotFound:
            return False
        return True

    async def _stamp_anew(self, uow: UnitOfWork, events: Sequence[Overdue]) -> None:
        now = self._clock.now()
        texts = {event.id: late_text(event.body, now) for event in events}
        done = await LagoEventRepository(uow).restamp(texts)
        for event in events:
            if event.id in done:
                log.warning("event_stamped_anew", transaction_id=event.transaction_id)
                uow.emit(
                    LateEnergy(
                        audience=Audience((OPERATORS,)),
                        session_id=event.session_id,
                        transaction_id=event.steve_transaction_id,
                        charge_box_id=event.charge_box_id,
                        connector_id=event.connector_id,
                        user_mapping_id=event.tag_mapping_id,
                        late_wh=event.wh,
                    )
                )


def late_text(body: str, now: datetime) -> str:
    """The same event for the open period; it still says when its energy was used."""
    event = json.loads(body)
    properties = {"usage_at": event["timestamp"], **event["properties"], "late": "true"}
    return encode({**event, "timestamp": unix_text(now), "properties": properties})
