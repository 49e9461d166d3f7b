"""One timer for all streams: a sign of life, and a look at whether the right behind each stream still stands."""

import asyncio
from datetime import timedelta

import structlog

from notifier.outages import DATABASE_OUTAGE
from notifier.stream.connection import Connection
from notifier.stream.frames import heartbeat_frame
from notifier.stream.hub import StreamHub
from notifier.stream.rights import TokenRight, standing
from polaris_common.db import Database
from polaris_common.identity.devices import DeviceRepository

TICKS_PER_HEARTBEAT = 15
CHECK_SECONDS = 5.0
BEATS_PER_SIGHTING = 4
"""Every fourth sign of life to a device is noted as having been heard of it (contract-devices §1.10)."""

log = structlog.get_logger(__name__)


class Heartbeat:
    """Greets the streams that are due; ends those whose session or token is gone, expired or of another role."""

    def __init__(self, database: Database, hub: StreamHub, *, seconds: float, customer_lifetime: timedelta) -> None:
        self._database, self._hub = database, hub
        self._tick, self._customer_lifetime = seconds / TICKS_PER_HEARTBEAT, customer_lifetime

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._tick)
            due = self._hub.due()
            if due:
                await self._beat(due)

    async def _beat(self, due: list[Connection]) -> None:
        ended = await self._without_right(due)
        heartbeat = heartbeat_frame()
        for connection in due:
            if connection in ended:
                self._hub.remove(connection)
                connection.close(connection.kind.unauthorised(connection.position))
            else:
                connection.greet(heartbeat, self._hub.last_seq)

    async def _without_right(self, due: list[Connection]) -> set[Connection]:
        """Nobody while the database is away: unknown is not "no"."""
        rights = {connection.viewer.right for connection in due}
        seen = {
            connection.viewer.right.token_id
            for connection in due
            if isinstance(connection.viewer.right, TokenRight) and connection.beats % BEATS_PER_SIGHTING == 3
        }
        try:
            async with asyncio.timeout(CHECK_SECONDS), self._database.unit_of_work() as uow:
                stand = await standing(uow, rights, customer_lifetime=self._customer_lifetime)
                if seen:
                    await DeviceRepository(uow).note_heard(seen)
        except DATABASE_OUTAGE as error:
            log.warning("rights_unchecked", error=type(error).__name__)
            return set()
        return {connection for connection in due if connection.viewer.right not in stand}
