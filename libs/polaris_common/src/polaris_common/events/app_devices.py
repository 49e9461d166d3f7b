"""What a device's own stream tells its app, and what operators see of a device."""

from typing import Any, ClassVar
from uuid import UUID

from polaris_common.events.catalogue import OPERATORS, Audience, DomainEvent, device_audience


class DeviceSessionReplaced(DomainEvent):
    """The device has opened another stream; the ones before it end, on every replica."""

    type: ClassVar[str] = "device.session.replaced"
    device_id: UUID
    replaced_at: int
    """Milliseconds since 1970."""
    stream_id: UUID
    """The new stream."""

    @classmethod
    def by(cls, stream_id: UUID, device_id: UUID, *, replaced_at: int) -> "DeviceSessionReplaced":
        """``stream_id`` is the device's stream from now on."""
        audience = Audience((device_audience(device_id),))
        return cls(audience=audience, device_id=device_id, replaced_at=replaced_at, stream_id=stream_id)


class DeviceCapabilitiesChanged(DomainEvent):
    """An operator has changed what a device may do: its app asks again."""

    type: ClassVar[str] = "device.capabilities.changed"
    device_id: UUID
    capabilities: list[str]


class DeviceSettingsChanged(DomainEvent):
    """A device's settings were changed elsewhere: its app asks again."""

    type: ClassVar[str] = "device.settings.changed"
    device_id: UUID
    keys: list[str]


class DeviceLogsAppended(DomainEvent):
    """A device has delivered lines of its log, as OpenTelemetry log records."""

    type: ClassVar[str] = "device.logs.appended"
    audience: Audience = Audience((OPERATORS,))
    device_id: UUID
    records: list[dict[str, Any]]
