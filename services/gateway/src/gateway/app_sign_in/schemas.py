"""Signing in on a phone, on the wire (contract §5.2, contract-devices §1.8)."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import StringConstraints

from gateway.devices.enrolment import Enrolled
from gateway.devices.schemas import DeviceFields, DeviceTime
from gateway.exact_bodies import Text120
from gateway.wire import Wire, WireTime
from polaris_common.ids import PUBLIC_ID_ALPHABET, PUBLIC_ID_LENGTH
from polaris_common.models import User

PrintedId = Annotated[str, StringConstraints(pattern=rf"^[{PUBLIC_ID_ALPHABET}]{{{PUBLIC_ID_LENGTH}}}$")]


class AppSignInBody(DeviceFields):
    """What both ways tell about the phone; unknown keys are ignored."""

    device_label: Text120


class QrSignInBody(AppSignInBody):
    """A card's printed id."""

    user_public_id: PrintedId


class MagicLinkSignInBody(AppSignInBody):
    """The token of a mailed link."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=512)]


class SignedInDevice(Wire):
    """The phone as it is registered now."""

    id: UUID
    label: str
    capabilities: list[str]
    owner_user_id: UUID


class IssuedToken(Wire):
    """The phone's credentials, shown this once."""

    id: UUID
    device_token: str
    device_secret: str
    expires_at: DeviceTime


class DeviceOwner(Wire):
    """Who signed in."""

    id: UUID
    public_id: str
    name: str | None
    email: str | None


class AppSignInRead(Wire):
    """Signed in on a phone."""

    device: SignedInDevice
    token: IssuedToken
    user: DeviceOwner

    @classmethod
    def of(cls, user: User, enrolled: Enrolled) -> Self:
        """What the app of ``user`` stores."""
        device, credentials = enrolled.device, enrolled.credentials
        return cls(
            device=SignedInDevice(
                id=device.id,
                label=device.label,
                capabilities=device.capabilities,
                owner_user_id=device.owner_user_id,
            ),
            token=IssuedToken(
                id=credentials.token_id,
                device_token=credentials.token,
                device_secret=credentials.secret,
                expires_at=credentials.expires_at,
            ),
            user=DeviceOwner(id=user.id, public_id=user.public_id, name=user.name, email=user.email),
        )


class QrCardRead(Wire):
    """A driver's card as operators see it."""

    printed_id: str
    link: str
    issued_at: WireTime
    expires_at: WireTime
    enabled: bool
    expired: bool
    last_used_at: WireTime | None
