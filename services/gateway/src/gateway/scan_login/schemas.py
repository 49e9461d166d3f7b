"""Scanning cards, on the wire (contract §6, contract-devices §1.10)."""

from enum import StrEnum
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from gateway.devices.schemas import DeviceTime
from gateway.wire import Wire
from polaris_common.identity.pairings import LIFETIME, epoch_ms
from polaris_common.models import PairableType, Pairing, PairingPurpose

MAX_ID_LENGTH = 255
MAX_CODE_LENGTH = 64

GivenId = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_ID_LENGTH, pattern=r"^[^\x00]*$")]
GivenCode = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_CODE_LENGTH, pattern=r"^[^\x00]*$")
]


class TapTarget(Wire):
    """Something that reads cards."""

    device_id: str
    pairable_type: PairableType
    kind: str
    label: str
    friendly_name: str | None
    capabilities: list[str]
    is_online: bool
    is_own_device: bool | None = None


class TapTargetsRead(Wire):
    """Where a card can be held."""

    ok: Literal[True] = True
    devices: list[TapTarget]


class ArmBody(Wire):
    """Ask a charger (by the number on it) or a device to read one card."""

    pairable_type: PairableType = PairableType.CHARGER
    charge_box_id: GivenId | None = None
    """The charge box id, or the number on the charger's sticker."""
    presence_code: GivenId | None = None
    """The number on the charger's sticker, where ``chargeBoxId`` is not it already."""
    device_id: GivenId | None = None


class ArmedRead(Wire):
    """What was armed, and for how long."""

    pairing_code: str
    pairable_type: PairableType
    charge_box_id: str | None = None
    device_id: str | None = None
    expires_in_sec: int
    expires_at_epoch_ms: int

    @classmethod
    def of(cls, pairing: Pairing) -> Self:
        """A pairing that was just armed."""
        kind = PairableType(pairing.pairable_type)
        return cls(
            pairing_code=pairing.code,
            pairable_type=kind,
            charge_box_id=pairing.target if kind is PairableType.CHARGER else None,
            device_id=pairing.target if kind is PairableType.DEVICE else None,
            expires_in_sec=int(LIFETIME.total_seconds()),
            expires_at_epoch_ms=epoch_ms(pairing.expires_at),
        )


class ReleaseBody(Wire):
    """Give a pairing up; its code is the right to do so."""

    pairing_code: GivenCode
    pairable_type: PairableType | None = None
    charge_box_id: GivenId | None = None
    device_id: GivenId | None = None


class ScanLoginBody(Wire):
    """A tap as the stream told it."""

    pairing_code: GivenCode
    charge_box_id: GivenId | None = None
    device_id: GivenId | None = None
    id_tag: GivenCode
    nonce: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    t: Annotated[int, Field(ge=0, lt=2**53)]

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if bool(self.charge_box_id) == bool(self.device_id):
            raise ValueError("exactly one of chargeBoxId and deviceId is needed")
        return self


class ScanLoginRead(Wire):
    """Signed in; where to go."""

    redirect_to: str = "/"


class ScanResultBody(Wire):
    """A card that a device has read, signed with the device's secret."""

    id_tag: GivenCode
    pairing_code: GivenCode
    ts: Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]
    """Unix seconds."""
    nonce: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class ScannedTag(Wire):
    """What is known of the card."""

    display_name: str | None
    tag_type: str


class ScannedCustomer(Wire):
    """Whose card it is."""

    display_name: str | None
    slug: str | None


class SubscriptionStatus(StrEnum):
    """The statuses that the app knows."""

    ACTIVE = "active"
    PENDING = "pending"
    TERMINATED = "terminated"
    CANCELED = "canceled"


class ScannedSubscription(Wire):
    """What pays for it."""

    plan_label: str | None
    status: SubscriptionStatus | None
    current_period_end_iso: DeviceTime | None
    billing_tier: str | None


class ScanResultRead(Wire):
    """What the device shows about the card."""

    ok: Literal[True] = True
    found: bool
    pairing_code: str
    id_tag: str
    resolved_at_iso: DeviceTime
    tag: ScannedTag | None = None
    customer: ScannedCustomer | None = None
    subscription: ScannedSubscription | None = None


class PendingRead(Wire):
    """No card was read yet."""

    status: Literal["pending"] = "pending"


class ScanCancelBody(Wire):
    """Which request the device gives up."""

    pairing_code: GivenCode


class ScanArmBody(Wire):
    """What an operator wants a device to read a card for."""

    purpose: PairingPurpose
    hint_label: str | None = None


class ScanArmRead(Wire):
    """The device is asked."""

    ok: Literal[True] = True
    pairing_code: str
    device_id: UUID
    expires_in_sec: int
    purpose: PairingPurpose
