"""What a device may do with itself."""

from uuid import UUID

from gateway.devices.enrolment import Enrolment, RemovedBy
from gateway.devices.repository import device_with_owner, plan_of
from gateway.devices.schemas import MeRead, PushTokenBody
from gateway.exact_bodies import InvalidBody
from polaris_common.db import UnitOfWork
from polaris_common.http.errors import ApiError, Forbidden, NotFound
from polaris_common.identity.devices import DeviceRepository, apns_token
from polaris_common.identity.principals import Device
from polaris_common.models import Role


class DeviceDeleted(ApiError):
    """The device was removed while it called."""

    status, code, message = 410, "device_deleted", "This device is no longer registered."


async def read_me(uow: UnitOfWork, device: Device) -> MeRead:
    """The device and its owner.

    Raises:
        DeviceDeleted: it was removed a moment ago.
    """
    found = await device_with_owner(uow, device.device_id, device.token_id)
    if found is None or found.AppDevice.deleted_at is not None:
        raise DeviceDeleted
    row, owner, expires_at = found.AppDevice, found.User, found.expires_at
    pays = owner.role != Role.ADMIN and owner.lago_customer_external_id is not None
    plan = await plan_of(uow, owner.lago_customer_external_id) if pays else None
    return MeRead(
        device_id=row.id,
        owner_user_id=owner.id,
        owner_display_name=owner.name or owner.email or str(owner.id),
        owner_name=owner.name,
        owner_email=owner.email,
        owner_public_id=owner.public_id,
        owner_role=owner.role,
        plan_code=plan and plan.code,
        plan_name=plan and plan.name,
        capabilities=row.capabilities,
        label=row.label,
        registered_at_iso=row.registered_at,
        created_at_iso=row.registered_at,
        expires_at_iso=expires_at,
    )


async def set_push_token(uow: UnitOfWork, device: Device, device_id: str, body: PushTokenBody) -> None:
    """Store where to push.

    Raises:
        NotFound, Forbidden: the path names no device, or another one.
        InvalidBody: the token is neither base64 nor hex.
        DeviceDeleted: the device was removed a moment ago.
    """
    _require_own(device, device_id)
    token = apns_token(body.push_token)
    if token is None:
        raise InvalidBody
    if not await DeviceRepository(uow).set_push_token(device.device_id, token, body.apns_environment):
        raise DeviceDeleted


async def deregister_self(uow: UnitOfWork, enrolment: Enrolment, device: Device, device_id: str) -> None:
    """Remove the device that calls.

    Raises:
        NotFound, Forbidden: the path names no device, or another one.
        DeviceDeleted: it was removed a moment ago.
    """
    _require_own(device, device_id)
    owner_id = device.owner_user_id
    removed = await enrolment.remove(uow, device.device_id, owner_id=owner_id, by=owner_id, reason=RemovedBy.SELF)
    if not removed:
        raise DeviceDeleted


def parse_id(text: str) -> UUID | None:
    """The id in a path; None when it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _require_own(device: Device, device_id: str) -> None:
    given = parse_id(device_id)
    if given is None:
        raise NotFound
    if given != device.device_id:
        raise Forbidden
