"""Giving a device its credentials and taking them away, whichever way its owner signs in."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from gateway.devices.repository import give_up_app_tag, want_app_tag
from polaris_common.db import UnitOfWork
from polaris_common.domain.device_capabilities import OF_DRIVERS
from polaris_common.events.catalogue import Audience, DeviceRegistered, DeviceTokenRevoked, device_audience
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.devices import Credentials, DeviceDetails, DeviceRepository, SecretVault
from polaris_common.models import AppDevice, Role, User

MAX_DEVICES = 10
"""Live devices of one person; the one not heard of for longest has to go."""


class Flow(StrEnum):
    """How the owner proved who they are."""

    REGISTER = "register"
    MAGIC_LINK = "magic-link-verify"
    QR = "qr-sign-in"


class RemovedBy(StrEnum):
    """Why a device was removed."""

    SELF = "self"
    ADMIN = "admin"
    REPLACED = "replaced"


@dataclass(frozen=True)
class Enrolled:
    """A device and what it signs in with from now on."""

    device: AppDevice
    credentials: Credentials


@dataclass(frozen=True)
class Enrolment:
    """Enrols and removes devices for requests from one origin."""

    audit: Audit
    vault: SecretVault
    origin: Origin

    async def enrol(
        self, uow: UnitOfWork, owner: User, details: DeviceDetails, flow: Flow, capabilities: list[str] | None = None
    ) -> Enrolled:
        """A device of ``owner`` with new credentials; ``capabilities``: by default those of a driver's device.

        A try whose answer was lost leaves nothing behind when the app tries again.
        """
        devices = DeviceRepository(uow, self.vault)
        wanted = sorted(OF_DRIVERS) if capabilities is None else capabilities
        await devices.lock_owner(owner.id)
        twin = await devices.never_used_twin(owner.id, details)
        if twin is None:
            device = await devices.add(owner.id, details, wanted)
        else:
            device = await devices.refresh(twin.id, details, wanted)
        if details.push_token is not None:
            await devices.set_push_token(device.id, details.push_token, details.apns_environment)
        credentials = await devices.issue(device.id)
        if owner.role == Role.CUSTOMER:
            await want_app_tag(uow, owner, device)
        for surplus in await devices.beyond_cap(owner.id, MAX_DEVICES):
            await self.remove(uow, surplus, owner_id=owner.id, by=owner.id, reason=RemovedBy.REPLACED)
        await self._note(uow, device, credentials, flow)
        return Enrolled(device, credentials)

    async def remove(self, uow: UnitOfWork, device_id: UUID, *, owner_id: UUID, by: UUID, reason: RemovedBy) -> bool:
        """End a device: its credentials, its tag and its streams; False when it had ended before."""
        devices = DeviceRepository(uow)
        if not await devices.remove(device_id, by=by):
            return False
        await give_up_app_tag(uow, device_id)
        await self.audit.record(
            uow,
            AuditEvent.DEVICE_DEREGISTERED,
            self.origin,
            user_id=owner_id,
            deviceId=str(device_id),
            reason=reason,
        )
        for token_id in await devices.revoke_tokens(device_id):
            await self.audit.record(
                uow,
                AuditEvent.DEVICE_TOKEN_REVOKED,
                self.origin,
                user_id=owner_id,
                deviceId=str(device_id),
                grantId=str(token_id),
                reason=reason,
            )
            uow.emit(
                DeviceTokenRevoked(
                    audience=Audience((device_audience(device_id),)),
                    device_id=device_id,
                    token_id=token_id,
                    reason=reason,
                )
            )
        return True

    async def _note(self, uow: UnitOfWork, device: AppDevice, credentials: Credentials, flow: Flow) -> None:
        owner_id = device.owner_user_id
        await self.audit.record(
            uow,
            AuditEvent.DEVICE_REGISTERED,
            self.origin,
            user_id=owner_id,
            deviceId=str(device.id),
            kind=device.kind,
            platform=device.platform,
            model=device.model,
            appVersion=device.app_version,
            capabilities=device.capabilities,
            flow=flow,
        )
        await self.audit.record(
            uow,
            AuditEvent.DEVICE_TOKEN_ISSUED,
            self.origin,
            user_id=owner_id,
            deviceId=str(device.id),
            grantId=str(credentials.token_id),
            hashPrefix=credentials.hash_prefix,
            flow=flow,
        )
        uow.emit(
            DeviceRegistered(
                audience=Audience.operators_and(owner_id),
                device_id=device.id,
                label=device.label,
                platform=device.platform or "",
                model=device.model or "",
                flow=flow,
            )
        )
