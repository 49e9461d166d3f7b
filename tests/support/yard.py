"""A site with everything that the sync-worker does to chargers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from polaris_common.charging.operations import NewOperation, OperationLogRepository, Source
from polaris_common.charging.reservations import Holder, ReservationRepository, Window
from polaris_common.charging.session_stops import SessionStopRepository
from polaris_common.db import Database
from polaris_common.ids import new_public_id
from polaris_common.models import Charger, StopReason, User
from polaris_common.settings import RedisSettings
from polaris_sim.faults import Fault, FaultRule
from polaris_sim.steve import Profile, StationBehaviour
from sync_worker.autostop.service import AutoStop
from sync_worker.operations.service import RemoteOperations
from sync_worker.readings.service import LiveReadings
from sync_worker.reservations.service import ReservationUpkeep
from tests.support.site import CARD, Site, build_site

BOX = "CP-1"


@dataclass
class Yard:
    """SteVe with one charger, our database, and the parts of the worker that act on chargers."""

    site: Site
    operations: RemoteOperations
    stops: AutoStop
    upkeep: ReservationUpkeep
    readings: LiveReadings

    async def charger(self, box: str = BOX, **behaviour: Any) -> None:
        """A charger that SteVe and we know; ``behaviour`` as of ``StationBehaviour``."""
        self.site.steve.add_charge_box(box, connectors=2, behaviour=StationBehaviour(**behaviour))
        async with self.site.database.unit_of_work() as uow:
            if await uow.session.get(Charger, box) is None:
                uow.session.add(Charger(charge_box_id=box, public_id=new_public_id()))

    async def driver(self, name: str = "ann") -> UUID:
        """A portal user."""
        async with self.site.database.unit_of_work() as uow:
            user = User(public_id=new_public_id(), email=f"{name}@example.com")
            uow.session.add(user)
            await uow.session.flush()
        return user.id

    async def request(
        self, operation: str, params: dict[str, Any] | None = None, *, box: str = BOX, **more: Any
    ) -> int:
        """An operator asks for an operation; the log row's id."""
        async with self.site.database.unit_of_work() as uow:
            new = NewOperation(box, operation, params or {}, more.pop("source", Source.OPERATOR), **more)
            row = await OperationLogRepository(uow).request(new)
        return row.id

    async def operate(self, operation: str, params: dict[str, Any] | None = None, **more: Any) -> Any:
        """The same, carried out; the log row."""
        operation_id = await self.request(operation, params, **more)
        await self.operations.run_due()
        return await self.log_row(operation_id)

    async def log_row(self, operation_id: int) -> Any:
        """One row of the operation log."""
        return await self.site.row("SELECT * FROM charger_operation_log WHERE id = :id", id=operation_id)

    async def log(self) -> list[tuple[str, str | None]]:
        """Status and outcome of every row, oldest first."""
        rows = await self.site.rows(
            "SELECT status, outcome FROM charger_operation_log ORDER BY id",
        )
        return [(row.status, row.outcome) for row in rows]

    def sent(self, operation: str) -> int:
        """How often SteVe was asked."""
        return sum(path.startswith(f"/operations/{operation}?") for path in self.site.requests.paths)

    def fault(self, fault: Fault, operation: str, times: int | None = None) -> None:
        """What happens to the next calls of an operation."""
        rule = FaultRule(fault, method="POST", path=f"/operations/{operation}$", times=times, seconds=0)
        self.site.steve.faults.rules.append(rule)

    async def events(self, kind: str) -> list[dict[str, Any]]:
        """The payloads of one kind of event, oldest first."""
        rows = await self.site.rows(
            "SELECT payload FROM domain_events WHERE type = :kind ORDER BY created_at, id", kind=kind
        )
        return [row.payload for row in rows]

    async def charging(self, *, card: str = CARD, box: str = BOX, connector: int = 1) -> int:
        """A car charges there now, and we know; SteVe's transaction id."""
        started = await self.site.steve.start_transaction(
            box, connector, card, start_value="1000", timestamp=datetime.now(UTC)
        )
        await self.site.runs.live_poll()
        return started.transaction_id

    async def stopped(self, transaction: int) -> None:
        """The charger has ended it, and we know."""
        self.site.steve.stop_transaction(transaction, "5000")
        await self.site.runs.live_poll()

    async def want_stop(self, transaction: int, reason: StopReason = StopReason.WALLET_DEPLETED) -> bool:
        """Somebody decides that a session must end."""
        session = await self.site.session(transaction)
        async with self.site.database.unit_of_work() as uow:
            return await SessionStopRepository(uow).want(session.id, reason)

    async def stop_round(self) -> None:
        """Auto-stop, the charger, and what SteVe then shows."""
        await self.stops.sweep()
        await self.operations.run_due()
        await self.site.steve.settled()
        await self.site.runs.live_poll()
        await self.stops.sweep()

    async def reserve(
        self,
        start: float = 0,
        end: float = 60,
        *,
        box: str = BOX,
        connector: int = 1,
        holder: Holder | None = None,
    ) -> int:
        """A booking from so many minutes from now until so many; its id."""
        now = (await self.site.row("SELECT now() AS now")).now
        window = Window(box, connector, now + timedelta(minutes=start), now + timedelta(minutes=end))
        async with self.site.database.unit_of_work() as uow:
            row = await ReservationRepository(uow).create(window, holder or self.card(), by=None)
        return row.id

    def card(self, id_tag: str = CARD, user_id: UUID | None = None) -> Holder:
        """A driver's card as the holder of a reservation."""
        return Holder(self.site.steve.tag(id_tag).ocpp_tag_pk, id_tag, user_id)

    async def cancel(self, reservation: int) -> None:
        """Somebody cancels."""
        async with self.site.database.unit_of_work() as uow:
            await ReservationRepository(uow).cancel(reservation)

    async def shift(self, reservation: int, minutes: float) -> None:
        """Time passes for a reservation."""
        await self.site.execute(
            "UPDATE reservations SET start_at = start_at - d.by, end_at = end_at - d.by,"
            " held_until = held_until - d.by,"
            " next_attempt_at = next_attempt_at - d.by FROM (SELECT CAST(:by AS interval) AS by) AS d WHERE id = :id",
            id=reservation,
            by=timedelta(minutes=minutes),
        )

    async def round(self) -> None:
        """One round of upkeep with what the charger answers."""
        await self.upkeep.sweep()
        await self.operations.run_due()
        await self.upkeep.sweep()

    async def reservation(self, reservation: int) -> Any:
        """Our row."""
        return await self.site.row("SELECT * FROM reservations WHERE id = :id", id=reservation)

    async def standing(self, reservation: int) -> tuple[str, str]:
        """Status, and what the charger knows."""
        row = await self.reservation(reservation)
        return row.status, row.hold


@asynccontextmanager
async def build_yard(
    database: Database, redis: RedisSettings, profile: Profile = Profile.V3_12_FORK, **config: Any
) -> AsyncIterator[Yard]:
    """A yard with one charger."""
    async with build_site(database, redis, profile, **config) as site:
        capabilities = site.transactions.capabilities
        yard = Yard(
            site,
            RemoteOperations(database, site.client, capabilities),
            AutoStop(database, site.jobs),
            ReservationUpkeep(database, site.jobs),
            LiveReadings(database, site.client, site.jobs, capabilities),
        )
        await yard.charger()
        yield yard
