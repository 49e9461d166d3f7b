"""People, things that happen to them, and the projector that tells them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import insert
from tests.support.sql import WithDatabase

from notifier.notifications.mails import MailDesk
from notifier.notifications.service import Projector
from polaris_common.db import Database
from polaris_common.events.catalogue import Audience, DomainEvent, OperatorNotice, SessionStopped
from polaris_common.events.relay import number_waiting
from polaris_common.ids import new_public_id
from polaris_common.models import ChargingSession, Role, User

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class TellingWorld(WithDatabase):
    """A database, a relay and a projector."""

    relay: "asyncpg.Connection[Any]"
    projector: Projector
    _people: int = field(default=0)

    async def person(self, role: Role = Role.CUSTOMER, **values: Any) -> UUID:
        """Somebody with an address."""
        self._people += 1
        row = {"public_id": new_public_id(), "role": role, "email": f"person{self._people}@example.org"} | values
        async with self.database.unit_of_work() as uow:
            user_id: UUID = (await uow.execute(insert(User).values(row).returning(User.id))).scalar_one()
        return user_id

    async def happen(self, *events: DomainEvent) -> None:
        """One transaction with these events, numbered."""
        async with self.database.unit_of_work() as uow:
            for event in events:
                uow.emit(event)
        await number_waiting(self.relay)

    async def tell(self, *events: DomainEvent) -> list[Any]:
        """The events happen and are told; every notification there is, oldest first."""
        if events:
            await self.happen(*events)
        await self.projector.run()
        return list(await self.rows("SELECT * FROM notifications ORDER BY id"))

    async def session(self, user_id: UUID | None, session: int = 7, **values: Any) -> int:
        """A settled charging session of 12.345 kWh; its id is whatever comes next."""
        row = {
            "steve_transaction_id": 1000 + session,
            "charge_box_id": "CP-1",
            "connector_id": 1,
            "id_tag": "TAG",
            "started_at": NOON,
            "start_wh": 0,
            "stopped_at": NOON + timedelta(hours=1),
            "stop_wh": 12_345,
            "state": "settled",
            "user_id": user_id,
        } | values
        async with self.database.unit_of_work() as uow:
            added = insert(ChargingSession).values(row).returning(ChargingSession.id)
            session_id: int = (await uow.execute(added)).scalar_one()
        return session_id

    async def queued(self) -> list[Any]:
        """The mails on the queue, oldest first."""
        return list(await self.rows("SELECT * FROM outgoing_mails ORDER BY created_at, recipient"))

    async def announced(self, kind: str = "notification.created") -> list[Any]:
        """The events about notifications, oldest first."""
        return list(
            await self.rows("SELECT * FROM domain_events WHERE type = :kind ORDER BY created_at, id", kind=kind)
        )


@pytest.fixture
async def world(database: Database) -> AsyncIterator[TellingWorld]:
    """A world where nothing has happened."""
    relay = await database.connect_raw()
    yield TellingWorld(database, relay, Projector(database, MailDesk(), dashboard="https://lago.test"))
    await relay.close()


def finished(user_id: UUID | None, session: int = 7, **changes: Any) -> SessionStopped:
    """A session that is over for good."""
    values = {
        "audience": Audience.operators_and(user_id),
        "session_id": session,
        "transaction_id": 1000 + session,
        "charge_box_id": "CP-1",
        "connector_id": 1,
        "stopped_at": "2026-03-01T13:00:00.000Z",
        "energy_wh": 12_345,
        "energy_kwh": "12.345",
        "final": True,
    }
    return SessionStopped(**(values | changes))


def noticed(kind: str, severity: str = "warn", **changes: Any) -> OperatorNotice:
    """Something operators should read."""
    return OperatorNotice(**({"kind": kind, "severity": severity, "source_type": "system"} | changes))
