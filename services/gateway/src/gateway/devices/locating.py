"""Asking a managed device where it is (contract-devices §1.17)."""

from uuid import UUID

from gateway.devices.service import parse_id
from polaris_common.db import UnitOfWork
from polaris_common.domain.device_capabilities import Capability
from polaris_common.http.errors import ApiError, NotFound
from polaris_common.identity.devices import DeviceRepository
from polaris_common.push.queue import queue_locate_push


class NotManaged(ApiError):
    """The device does not tell where it is."""

    status, code, message = 400, "not_managed", "This device is not managed, so it does not tell where it is."


class NoPushToken(ApiError):
    """The device cannot be reached."""

    status, code, message = 409, "no_push_token", "This device cannot be reached by push."


class PushSendFailed(ApiError):
    """Nothing can be pushed from here."""

    status, code, message = 502, "push_send_failed", "Push is not set up here."

    def __init__(self) -> None:
        super().__init__(fields={"reason": "JwtSignFailed"})


async def ask(uow: UnitOfWork, device_id: str, *, push_enabled: bool) -> UUID:
    """Queue the silent push; the id that the answer can be told by.

    Raises:
        NotFound, NotManaged, NoPushToken, PushSendFailed: as their texts say.
    """
    parsed = parse_id(device_id)
    device = None if parsed is None else await DeviceRepository(uow).of_id(parsed)
    if device is None or device.deleted_at is not None:
        raise NotFound
    if Capability.MANAGED not in device.capabilities:
        raise NotManaged
    if device.push_token is None:
        raise NoPushToken
    if not push_enabled:
        raise PushSendFailed
    return await queue_locate_push(uow, device.id)
