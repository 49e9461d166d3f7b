"""Devices on the wire (contract-devices §1.7 to §1.11); times in whole seconds, as the app reads them."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, PlainSerializer, StringConstraints

from gateway.exact_bodies import Text40, Text80, Text120
from gateway.wire import Wire
from polaris_common.domain.device_capabilities import Capability, illegal
from polaris_common.identity.devices import DeviceDetails, apns_token


def to_seconds(moment: datetime) -> str:
    """``YYYY-MM-DDTHH:MM:SSZ``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


DeviceTime = Annotated[datetime, PlainSerializer(to_seconds, return_type=str)]


class Platform(StrEnum):
    """What the app runs on."""

    IOS = "ios"
    MACOS = "macos"
    IPADOS = "ipados"


class ApnsEnvironment(StrEnum):
    """Which of Apple's push services knows the token."""

    SANDBOX = "sandbox"
    PRODUCTION = "production"


def _legal(capabilities: list[Capability]) -> list[Capability]:
    reason = illegal(capabilities)
    if reason is not None:
        raise ValueError(reason)
    return capabilities


class DeviceFields(Wire):
    """What every way of signing in on a device tells about the device."""

    platform: Platform
    model: Text80
    os_version: Text40
    app_version: Text40
    push_token: Annotated[str, StringConstraints(max_length=512)] | None = None
    apns_environment: ApnsEnvironment

    def details(self, label: str) -> DeviceDetails:
        """As the registry keeps it; a push token that APNs could not use is left out."""
        return DeviceDetails(
            label=label,
            platform=self.platform,
            model=self.model,
            os_version=self.os_version,
            app_version=self.app_version,
            apns_environment=self.apns_environment,
            push_token=apns_token(self.push_token) if self.push_token else None,
        )


class RegisterBody(DeviceFields):
    """What the app sends with the code from ``/app/register``; unknown keys are ignored."""

    one_time_code: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    code_verifier: Annotated[str, StringConstraints(min_length=43, max_length=256)]
    label: Text120
    requested_capabilities: Annotated[list[Capability], Field(min_length=1, max_length=5), AfterValidator(_legal)]


class RegisterRead(Wire):
    """The device's credentials, shown this once."""

    ok: Literal[True] = True
    device_id: UUID
    device_token: str
    device_secret: str
    capabilities: list[str]
    expires_at_iso: DeviceTime


class MeRead(Wire):
    """Which device this is and whose."""

    ok: Literal[True] = True
    device_id: UUID
    owner_user_id: UUID
    owner_display_name: str
    owner_name: str | None
    owner_email: str | None
    owner_public_id: str
    owner_role: str
    plan_code: str | None
    plan_name: str | None
    capabilities: list[str]
    label: str
    registered_at_iso: DeviceTime
    created_at_iso: DeviceTime
    expires_at_iso: DeviceTime


class PushTokenBody(Wire):
    """Where to push: Apple's token as base64 (the app) or hex."""

    push_token: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    apns_environment: ApnsEnvironment


class OkRead(Wire):
    """Done."""

    ok: Literal[True] = True


class LocateRead(Wire):
    """By what the device's answer can be told."""

    correlation_id: UUID
