"""Opening the stream of one pairing and reading how it stands."""

import asyncio
from dataclasses import dataclass

from sqlalchemy import func, select

from notifier.outages import DATABASE_OUTAGE
from notifier.scan_detect.slots import Slots
from notifier.scan_detect.watch import PairingWatch
from polaris_common.db import Database
from polaris_common.http.errors import ApiError, ServiceUnavailable
from polaris_common.identity.pairings import PairingRepository, ScanTickets, target_of
from polaris_common.models import Pairing, PairingStatus

READ_SECONDS = 5.0


class PairingNotFound(ApiError):
    """No such request stands; whether it ever did is nobody's business."""

    status, code, message = 404, "pairing_not_found", "This request is over. Start again."


@dataclass(frozen=True)
class Opened:
    """A pairing that stands, and for how long."""

    pairing: Pairing
    seconds_left: float


class ScanDetect:
    """What the streams share."""

    def __init__(self, database: Database, reads: asyncio.Semaphore, auth_secret: str) -> None:
        self._database, self._reads = database, reads
        self.tickets = ScanTickets(auth_secret)
        self.watch = PairingWatch(database)
        self.slots = Slots()

    async def open(self, *, code: str, charge_box_id: str | None, device_id: str | None) -> Opened:
        """The pairing to follow: one that waits for a card, or whose card was read a moment ago.

        Raises:
            PairingNotFound: there is none.
            ServiceUnavailable: the database is away.
        """
        try:
            async with self._reads, self._database.unit_of_work() as uow:
                target = await target_of(uow, charge_box_id=charge_box_id, device_id=device_id)
                pairing = await PairingRepository(uow).get(target, code)
                now = await uow.session.scalar(select(func.clock_timestamp()))
        except DATABASE_OUTAGE as error:
            raise ServiceUnavailable(headers={"Retry-After": "5"}) from error
        if pairing is None or now is None or pairing.status not in (PairingStatus.ARMED, PairingStatus.MATCHED):
            raise PairingNotFound
        return Opened(pairing, (pairing.expires_at - now).total_seconds())

    async def read(self, pairing_id: int) -> Pairing | None:
        """How it stands now; None while the database is away."""
        try:
            async with asyncio.timeout(READ_SECONDS), self._reads, self._database.unit_of_work() as uow:
                return await PairingRepository(uow).by_id(pairing_id)
        except DATABASE_OUTAGE:
            return None
