"""Putting a push on the queue, in the transaction of what it is about; the notifier sends it.

Where a device can be reached is looked up when the push leaves, so that the queue holds no push token.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, insert, literal, select
from sqlalchemy.dialects.postgresql import JSONB

from polaris_common.db import UnitOfWork
from polaris_common.models import AppDevice, DeviceSetting, OutgoingPush, Pairing, PushKind

SCAN_REQUEST_SETTING = "notifications.scanRequest"
"""The device's setting that says whether scan requests may be pushed; true where nobody has set it."""
LOCATE_LIFETIME = timedelta(seconds=30)


async def queue_scan_push(uow: UnitOfWork, pairing: Pairing, device_id: UUID) -> bool:
    """Wake a device to read the card that ``pairing`` waits for; one push at most, and none after it has expired.

    False when the device cannot be reached by push or its owner does not want it.
    """
    unwanted = select(DeviceSetting.key).where(
        DeviceSetting.device_id == device_id,
        DeviceSetting.key == SCAN_REQUEST_SETTING,
        DeviceSetting.value_json == literal(False, JSONB),
    )
    reachable = select(
        AppDevice.id,
        literal(PushKind.SCAN_REQUEST.value),
        literal(pairing.id),
        literal(pairing.expires_at, Pairing.expires_at.type),
    ).where(AppDevice.id == device_id, AppDevice.push_token.is_not(None), ~unwanted.exists())
    return (
        await uow.write(insert(OutgoingPush).from_select(["device_id", "kind", "pairing_id", "expires_at"], reachable))
        == 1
    )


async def queue_locate_push(uow: UnitOfWork, device_id: UUID) -> UUID:
    """Ask a managed device where it is, within 30 s or not at all; the id that its answer can be told by."""
    values = {"device_id": device_id, "kind": PushKind.LOCATE, "expires_at": func.now() + LOCATE_LIFETIME}
    statement = insert(OutgoingPush).values(values).returning(OutgoingPush.id)
    return (await uow.session.execute(statement)).scalar_one()
