"""Opening a device's stream."""

import time
from collections.abc import Sequence
from uuid import uuid4

from notifier.process import Notifier
from notifier.scan_stream.kind import ScanKind
from notifier.stream.connection import Connection, Viewer
from notifier.stream.frames import Frame
from notifier.stream.kinds import Place
from notifier.stream.rights import TokenRight
from polaris_common.db import UnitOfWork
from polaris_common.events.app_devices import DeviceSessionReplaced
from polaris_common.identity.principals import Device


async def open_stream(notifier: Notifier, device: Device, *, address: str, last_event_id: int | None) -> Connection:
    """The device's stream from now on; the ones before it end, here at once and elsewhere when they hear of it.

    Raises:
        TooManyStreams: its owner's devices have as many at this address as they may. Other people's behind the same
            router do not count.
        StreamLimit: the process is full.
        ServiceUnavailable: the database is away.
    """
    stream_id, device_id = uuid4(), device.device_id
    limit = notifier.settings.sse_max_device_streams_per_address
    kind = ScanKind(device, stream_id, Place(f"{device.owner_user_id} at {address}", limit))
    viewer = Viewer(f"device:{device_id}", device.audiences, TokenRight(device.token_id))

    async def announce(uow: UnitOfWork) -> Sequence[Frame]:
        now = time.time_ns() // 1_000_000
        uow.emit(DeviceSessionReplaced.by(stream_id, device_id, replaced_at=now))
        return ()

    return await notifier.opener.open(kind, viewer, last_event_id=last_event_id, beginning=announce)
