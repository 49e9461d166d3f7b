"""Everybody who calls the gateway, with what proves who they are."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, text

from polaris_common.domain.device_capabilities import Capability
from polaris_common.http.callers import Caller
from polaris_common.identity.devices import DeviceDetails, DeviceRepository
from polaris_common.identity.sessions import cookie_name, open_session
from polaris_common.models import Role, User
from tests.support.gateway import GatewayWorld

EVERYBODY = ("nobody", "driver", "operator", "superadmin", "device")
ASKED_BY = {
    Caller.DRIVER: "driver",
    Caller.OPERATOR: "operator",
    Caller.SUPERADMIN: "superadmin",
    Caller.DEVICE: "device",
    Caller.SIGNED_IN: "driver",
}
"""Somebody whom a route of each kind lets in; ``nobody`` for the others."""
_ROLES = {"driver": Role.CUSTOMER, "operator": Role.ADMIN, "superadmin": Role.ADMIN}
_REVIVE = ("UPDATE devices SET deleted_at = NULL, revoked_at = NULL", "UPDATE device_tokens SET revoked_at = NULL")


@dataclass
class Principals:
    """A driver, two operators and the driver's phone, as often as they like."""

    world: GatewayWorld
    users: dict[str, User]
    device_id: UUID
    device_token: str

    async def headers(self, who: str) -> dict[str, str]:
        """What proves that it is ``who``: each time a session of its own, because some calls end sessions."""
        if who == "device":
            return {"authorization": f"Bearer {self.device_token}"}
        if who not in self.users:
            return {}
        async with self.world.database.unit_of_work() as uow:
            lifetime = timedelta(hours=1)
            token = await open_session(uow, self.users[who], lifetime=lifetime, ip_address=None, user_agent=None)
        return {"cookie": f"{cookie_name(secure=True)}={token}"}

    async def revive(self) -> None:
        """Undo what calls may have done to the phone."""
        async with self.world.database.unit_of_work() as uow:
            for statement in _REVIVE:
                await uow.execute(text(statement))


async def principals_of(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> Principals:
    """Everybody, in ``world``."""
    world.never_limit(monkeypatch)
    users = {}
    for who, role in _ROLES.items():
        user_id = await world.user(role, email=f"{who}@example.org", password=False, superadmin=who == "superadmin")
        async with world.database.unit_of_work() as uow:
            users[who] = (await uow.session.scalars(select(User).where(User.id == user_id))).one()
    details = DeviceDetails(
        label="Phone", platform="ios", model="iPhone17,1", os_version="26", app_version="1", apns_environment="sandbox"
    )
    async with world.database.unit_of_work() as uow:
        devices = DeviceRepository(uow, world.app.state.resources.vault)
        device = await devices.add(users["driver"].id, details, [Capability.SCANNER, Capability.USER])
        credentials = await devices.issue(device.id)
    return Principals(world, users, device.id, credentials.token)
