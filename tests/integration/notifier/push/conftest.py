"""Phones, and the stand-in of Apple's service that pushes reach them by."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from tests.support.sql import WithDatabase

from notifier.push.apns import Apns
from notifier.push.service import PushSender
from polaris_common.db import Database
from polaris_common.identity.pairings import PairingRepository, Target
from polaris_common.ids import new_public_id
from polaris_common.models import AppDevice, PairableType, Pairing, PairingPurpose, Role, User
from polaris_common.push.queue import queue_locate_push, queue_scan_push
from polaris_common.settings import ApnsSettings
from polaris_sim.apns import ApnsServer, ApnsSimulator

TOKEN = "ab" * 32


class Phones(WithDatabase):
    """Phones, and the sender that pushes to them by the stand-in of Apple's service."""

    def __init__(self, database: Database, apple: ApnsSimulator, server: ApnsServer) -> None:
        super().__init__(database)
        self.apple, self.server = apple, server
        self.transport = Apns(self.settings(), clock=apple.config.clock)
        self.sender = PushSender(database, self.transport)

    def settings(self, **changes: Any) -> ApnsSettings:
        """How the stand-in is reached; sandbox and production alike."""
        values: dict[str, Any] = {
            "apns_key_id": self.apple.config.key_id,
            "apns_team_id": self.apple.config.team_id,
            "apns_key_base64": SecretStr(self.apple.config.key_base64),
            "apns_production_url": self.server.url,
            "apns_sandbox_url": self.server.url,
            "apns_ca_file": self.server.ca_file,
        }
        return ApnsSettings(**(values | changes))

    async def phone(self, *, token: str | None = TOKEN, environment: str = "production") -> UUID:
        """Somebody's phone."""
        async with self.database.unit_of_work() as uow:
            user = User(public_id=new_public_id(), role=Role.ADMIN)
            uow.session.add(user)
            await uow.session.flush()
            device = AppDevice(label="Phone", owner_user_id=user.id, push_token=token, apns_environment=environment)
            uow.session.add(device)
            await uow.session.flush()
        return device.id

    async def ask(
        self, phone: UUID, *, purpose: PairingPurpose = PairingPurpose.LOGIN, hint: str | None = None
    ) -> Pairing:
        """Arm a phone, as the gateway does."""
        async with self.database.unit_of_work() as uow:
            target = Target(PairableType.DEVICE, str(phone))
            pairing = await PairingRepository(uow).arm(target, purpose=purpose, ip_address=None, hint_label=hint)
            await queue_scan_push(uow, pairing, phone)
        return pairing

    async def locate(self, phone: UUID) -> UUID:
        """Ask a phone where it is."""
        async with self.database.unit_of_work() as uow:
            return await queue_locate_push(uow, phone)

    async def outcome(self) -> str | None:
        """What became of the latest push; None when there is none."""
        rows = await self.rows("SELECT outcome FROM outgoing_pushes ORDER BY created_at DESC LIMIT 1")
        return rows[0].outcome if rows else None

    async def due_again(self) -> None:
        """A pause is over."""
        await self.execute("UPDATE outgoing_pushes SET next_attempt_at = now() WHERE finished_at IS NULL")


@pytest.fixture
async def phones(database: Database, tmp_path: Path) -> AsyncIterator[Phones]:
    """Phones and Apple."""
    apple = ApnsSimulator()
    async with ApnsServer(apple, tmp_path) as server:
        made = Phones(database, apple, server)
        yield made
        await made.transport.close()
