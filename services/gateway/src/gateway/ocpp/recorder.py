"""Writing down what SteVe was told and why: in the background, many at once, and never at a tap's expense."""

import asyncio
import hashlib
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from sqlalchemy import text

from gateway.ocpp.background import BackgroundTask
from polaris_common.db import Database, UnitOfWork
from polaris_common.domain.tap_decision import TapReason
from polaris_common.identity.keys import KeyUse, derive_key, keyed_hash

CAPACITY = 20_000
"""More than so many unwritten decisions are not kept."""
BATCH = 2_000
PAUSE_SECONDS = 0.5
WRITE_TIMEOUT_SECONDS = 10.0
RETENTION_DAYS = 30
_SHOWN = 16

_INSERT = text("""
INSERT INTO tap_decisions
    (decided_at, charge_box_id, connector_id, is_start, id_tag_hash, tag_mapping_id, blocked, reason, latency_us)
SELECT * FROM unnest(
    CAST(:decided_at AS timestamptz[]), CAST(:charge_box_id AS text[]), CAST(:connector_id AS int[]),
    CAST(:is_start AS bool[]), CAST(:id_tag_hash AS bytea[]), CAST(:tag_mapping_id AS bigint[]),
    CAST(:blocked AS bool[]), CAST(:reason AS text[]), CAST(:latency_us AS int[]))
""")

_DELETE_OLD = text("DELETE FROM tap_decisions WHERE decided_at < now() - make_interval(days => :days)")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Decided:
    """One answer to SteVe."""

    at: float
    """Seconds since 1970."""
    id_tag: str
    charge_box_id: str
    connector_id: int | None
    is_start: bool
    reason: TapReason
    blocked: bool
    mapping_id: int | None
    latency_us: int


class TagHashes:
    """How tags are kept where their numbers must not be."""

    def __init__(self, auth_secret: str) -> None:
        self._key = derive_key(auth_secret, KeyUse.TAPPED_TAG)

    def of(self, id_tag: str) -> bytes:
        """The hash of a tag; SteVe compares tags without case."""
        return keyed_hash(self._key, id_tag.lower())


class TapRecorder:
    """Takes decisions and writes them a little later; while the database is away, only the latest are kept."""

    def __init__(self, database: Database, hashes: TagHashes, *, capacity: int = CAPACITY) -> None:
        self._database, self._hashes = database, hashes
        self._unwritten: deque[Decided] = deque(maxlen=capacity)
        self._lost = 0
        self._wake = asyncio.Event()
        self._background = BackgroundTask(self._run)

    def start(self) -> None:
        """Begin to write."""
        self._background.start()

    async def stop(self) -> None:
        """Write what waits, if the database takes it, and end."""
        await self._background.cancel()
        with suppress(Exception):
            await self.write()

    def note(self, decided: Decided) -> None:
        """Keep ``decided`` until it is written; the oldest goes when there are too many."""
        self._lost += len(self._unwritten) == self._unwritten.maxlen
        self._unwritten.append(decided)
        self._wake.set()

    async def write(self) -> None:
        """Write everything that waits."""
        while self._unwritten:
            batch = [self._unwritten.popleft() for _ in range(min(BATCH, len(self._unwritten)))]
            try:
                async with asyncio.timeout(WRITE_TIMEOUT_SECONDS), self._database.glance() as uow:
                    await uow.execute(_INSERT, self._columns(batch))
            except BaseException:
                room = (self._unwritten.maxlen or 0) - len(self._unwritten)
                self._lost += max(0, len(batch) - room)
                self._unwritten.extendleft(reversed(batch[len(batch) - min(room, len(batch)) :]))
                raise

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(PAUSE_SECONDS)
            self._wake.clear()
            try:
                await self.write()
            except Exception as error:
                # A record is no answer: whatever goes wrong, the next round tries again.
                self._wake.set()
                with suppress(Exception):
                    log.warning("tap_decisions_unwritten", waiting=len(self._unwritten), error=type(error).__name__)
            if self._lost:
                lost, self._lost = self._lost, 0
                with suppress(Exception):
                    log.warning("tap_decisions_lost", count=lost)

    def _columns(self, batch: list[Decided]) -> dict[str, list[object]]:
        return {
            "decided_at": [datetime.fromtimestamp(each.at, UTC) for each in batch],
            "charge_box_id": [each.charge_box_id for each in batch],
            "connector_id": [each.connector_id for each in batch],
            "is_start": [each.is_start for each in batch],
            "id_tag_hash": [self._hashes.of(each.id_tag) for each in batch],
            "tag_mapping_id": [each.mapping_id for each in batch],
            "blocked": [each.blocked for each in batch],
            "reason": [each.reason.value for each in batch],
            "latency_us": [each.latency_us for each in batch],
        }


def shown(identifier: str) -> str:
    """An identifier as logs may show it: a hash."""
    return hashlib.sha256(identifier.encode()).hexdigest()[:_SHOWN]


async def delete_old(uow: UnitOfWork, *, days: int = RETENTION_DAYS) -> int:
    """Forget decisions older than ``days``; how many."""
    return await uow.write(_DELETE_OLD, {"days": days})
