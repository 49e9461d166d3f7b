"""One timer for all streams: a heartbeat, and a look at whether the sign-in behind each stream still stands."""

import asyncio

import structlog

from notifier.outages import DATABASE_OUTAGE
from notifier.stream.connection import Connection
from notifier.stream.frames import bye, heartbeat_frame
from notifier.stream.hub import StreamHub
from notifier.stream.repository import StreamRepository
from polaris_common.db import Database

TICKS_PER_HEARTBEAT = 15
CHECK_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Heartbeat:
    """Greets the streams that are due; ends those whose session is gone, expired or of another role."""

    def __init__(self, database: Database, hub: StreamHub, *, seconds: float) -> None:
        self._database, self._hub = database, hub
        self._tick = seconds / TICKS_PER_HEARTBEAT

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._tick)
            due = self._hub.due()
            if due:
                await self._beat(due)

    async def _beat(self, due: list[Connection]) -> None:
        signed_out = await self._signed_out(due)
        heartbeat = heartbeat_frame()
        for connection in due:
            if connection in signed_out:
                self._hub.remove(connection)
                connection.close(bye("signed_out"))
            else:
                connection.greet(heartbeat, self._hub.last_seq)

    async def _signed_out(self, due: list[Connection]) -> set[Connection]:
        """Nobody while the database is away: unknown is not "no"."""
        try:
            async with asyncio.timeout(CHECK_SECONDS), self._database.unit_of_work() as uow:
                roles = await StreamRepository(uow).live_roles({connection.viewer.session_id for connection in due})
        except DATABASE_OUTAGE as error:
            log.warning("sessions_unchecked", error=type(error).__name__)
            return set()
        return {connection for connection in due if roles.get(connection.viewer.session_id) != connection.viewer.role}
