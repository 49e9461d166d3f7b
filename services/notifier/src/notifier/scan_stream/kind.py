"""What a device hears, framed as its app reads it (contract-devices §1.10, §2.6)."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from notifier.stream.frames import Frame, LoggedEvent, compact
from notifier.stream.kinds import Place, StreamClass, StreamKind
from polaris_common.db import UnitOfWork
from polaris_common.events.app_devices import (
    DeviceCapabilitiesChanged,
    DeviceSessionReplaced,
    DeviceSettingsChanged,
)
from polaris_common.events.catalogue import (
    DeviceFeatureFlagsChanged,
    DeviceScanCancelled,
    DeviceScanRequested,
    DeviceTokenRevoked,
    FeatureFlagsChanged,
)
from polaris_common.identity.pairings import PairingRepository, Target
from polaris_common.identity.principals import Device
from polaris_common.models import PairableType

SCAN_STREAM_VERSION = 1
KEEPALIVE = Frame(b": keepalive\n\n", key="heartbeat")

_WIRE_NAMES = {
    DeviceScanRequested.type: "scan.requested",
    DeviceScanCancelled.type: "scan.cancelled",
    DeviceCapabilitiesChanged.type: DeviceCapabilitiesChanged.type,
    DeviceSettingsChanged.type: DeviceSettingsChanged.type,
    DeviceFeatureFlagsChanged.type: DeviceFeatureFlagsChanged.type,
    FeatureFlagsChanged.type: DeviceFeatureFlagsChanged.type,
}


class ScanKind(StreamKind):
    """One device's stream. Its newest one stands: the others end, on whatever replica they are."""

    per_principal = 1

    def __init__(self, device: Device, stream_id: UUID, place: Place) -> None:
        types = {*_WIRE_NAMES, DeviceSessionReplaced.type, DeviceTokenRevoked.type}
        super().__init__(StreamClass.DEVICES, types)
        self.place = place
        self._device, self._stream_id = device, str(stream_id)
        self._is_newest = False

    def frame(self, event: LoggedEvent) -> Frame | None:
        """As the app knows it."""
        match event.type:
            case DeviceSessionReplaced.type:
                return self._replaced_by(event)
            case DeviceTokenRevoked.type:
                if event.payload.get("tokenId") != str(self._device.token_id):
                    return None
                return _frame(event.type, event.seq, {}, is_last=True)
            case _:
                return _frame(_WIRE_NAMES[event.type], event.seq, event.payload)

    async def replay(self, uow: UnitOfWork, events: Sequence[LoggedEvent]) -> list[Frame]:
        """As live, but without requests that nobody waits for any more."""
        asked = DeviceScanRequested.type
        armed: str | None = None
        if any(event.type == asked for event in events):
            target = Target(PairableType.DEVICE, str(self._device.device_id))
            armed = await PairingRepository(uow).armed_code(target)
        wanted = [event for event in events if event.type != asked or event.payload["pairingCode"] == armed]
        return await super().replay(uow, wanted)

    def opening(self, at: int, *, behind: bool) -> bytes:
        """``connected`` with where the device stands as id: always 0 would make the app forget that (§0.1 rule 12)."""
        del behind
        payload = {"deviceId": str(self._device.device_id), "scanStreamVersion": SCAN_STREAM_VERSION}
        return _encoded("connected", at, payload)

    def moved(self, seq: int) -> bytes:
        """Nothing: the app moves with events alone, and what it gets twice it knows."""
        del seq
        return b""

    def heartbeat(self, shared: Frame) -> Frame:
        """A comment."""
        del shared
        return KEEPALIVE

    def resync(self, reason: str, seq: int) -> bytes:
        """The app asks for its state anew when it hears of changed settings."""
        del reason
        self._is_newest = True  # the event that told so is among those that are gone
        payload = {"deviceId": str(self._device.device_id), "keys": []}
        return _encoded(DeviceSettingsChanged.type, seq, payload)

    def unauthorised(self, seq: int) -> bytes:
        """The app forgets its credentials."""
        return _encoded(DeviceTokenRevoked.type, seq, {})

    def replaced(self, seq: int) -> bytes:
        """The app has another stream."""
        return _encoded(DeviceSessionReplaced.type, seq, {})

    def _replaced_by(self, event: LoggedEvent) -> Frame | None:
        """The stream's own announcement makes it the newest; those of streams before it do not concern it."""
        if event.payload.get("streamId") == self._stream_id:
            self._is_newest = True
            return None
        return _frame(event.type, event.seq, {}, is_last=True) if self._is_newest else None


def _frame(name: str, seq: int, payload: dict[str, Any], *, is_last: bool = False) -> Frame:
    return Frame(_encoded(name, seq, payload), key=seq, seq=seq, is_last=is_last)


def _encoded(name: str, seq: int, payload: dict[str, Any]) -> bytes:
    return f"event: {name}\nid: {seq}\ndata: {compact(payload)}\n\n".encode()
