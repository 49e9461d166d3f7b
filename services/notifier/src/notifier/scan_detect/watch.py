"""Which pairings have just changed: one listening connection for all streams of the process."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from notifier.outages import DATABASE_OUTAGE
from polaris_common.db import Database
from polaris_common.identity.pairings import CHANNEL, PairingRepository

CHECK_SECONDS = 15.0
"""How often the connection is tried; a dead one is noticed then. Streams look for themselves meanwhile."""
OUTAGE_SECONDS = 1.0

log = structlog.get_logger(__name__)


class PairingWatch:
    """Wakes the streams of a pairing when its state changes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[int, set[asyncio.Event]] = {}
        self.stopping = False

    @contextmanager
    def follow(self, pairing_id: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever the pairing may have changed."""
        changed = asyncio.Event()
        self._waiting.setdefault(pairing_id, set()).add(changed)
        try:
            yield changed
        finally:
            self._waiting[pairing_id].discard(changed)
            if not self._waiting[pairing_id]:
                del self._waiting[pairing_id]

    def stop(self) -> None:
        """Let every stream end."""
        self.stopping = True
        self._wake_all()

    async def run(self) -> None:
        """Listen, until cancelled."""
        while True:
            try:
                await self._listen()
            except DATABASE_OUTAGE as error:
                log.warning("pairings_unheard", error=type(error).__name__)
            await asyncio.sleep(OUTAGE_SECONDS)

    async def forget_old(self) -> None:
        """Delete pairings that are long over."""
        async with self._database.unit_of_work() as uow:
            await PairingRepository(uow).delete_old()

    async def _listen(self) -> None:
        connection = await self._database.connect_raw()
        try:
            await connection.add_listener(CHANNEL, self._on_notify)
            self._wake_all()
            while True:
                await asyncio.sleep(CHECK_SECONDS)
                await connection.execute("SELECT 1", timeout=CHECK_SECONDS)
        finally:
            connection.terminate()

    def _on_notify(self, *arguments: object) -> None:
        payload = str(arguments[-1])
        for changed in self._waiting.get(int(payload) if payload.isdecimal() else -1, ()):
            changed.set()

    def _wake_all(self) -> None:
        for followers in self._waiting.values():
            for changed in followers:
                changed.set()
