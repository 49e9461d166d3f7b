"""What the gateway reads from the environment."""

from enum import StrEnum
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator

from polaris_common.email.settings import EmailSettings
from polaris_common.settings import (
    CommaList,
    DatabaseSettings,
    HookSettings,
    HttpSettings,
    HttpUrl,
    IdentitySettings,
    LagoSettings,
    LagoWebhookSettings,
    ProtectedTagsSettings,
    RedisSettings,
    Settings,
    SignInSettings,
)


class ScanSignInMode(StrEnum):
    """Who may ask for a card to be held to a reader."""

    OPEN = "open"
    """Visitors too, with the number on the charger. It is printed: who has seen it may ask from afar, now and then."""
    ATTENDED = "attended"
    """Operators only."""


class QrSignInMode(StrEnum):
    """What the number on a driver's card is good for."""

    OPEN = "open"
    """It signs its driver in."""
    CONFIRM = "confirm"
    """On a phone that the driver has not used before a mailed link does, if the driver has an address."""
    OFF = "off"


class GatewaySettings(
    Settings,
    DatabaseSettings,
    RedisSettings,
    HookSettings,
    ProtectedTagsSettings,
    LagoSettings,
    LagoWebhookSettings,
    IdentitySettings,
    SignInSettings,
    EmailSettings,
    HttpSettings,
):
    """The gateway's configuration."""

    host: str = Field(default="0.0.0.0", validation_alias=AliasChoices("GATEWAY_HOST"))  # noqa: S104 - in a container
    port: int = Field(default=8000, ge=0, le=65_535, validation_alias=AliasChoices("GATEWAY_PORT", "PORT"))
    cors_origins: CommaList = ()
    """Origins of our web apps on other hosts, e.g. ``https://app.example.com``; nobody else's pages may read us."""
    rate_limit_scale: float = Field(default=1.0, ge=0.01, le=1_000)
    """Multiplies every rate limit."""
    qr_sign_in_mode: QrSignInMode = QrSignInMode.OPEN
    """Whether drivers sign in with the number on their card: ``open``, ``confirm`` or ``off``."""
    scan_sign_in_mode: ScanSignInMode = ScanSignInMode.OPEN
    """Who may ask a charger or a device to read a card for signing in: ``open`` or ``attended``."""
    qr_card_days: int = Field(default=365, ge=1, le=36_500)
    """How long a card signs its driver in after it was issued or given a new number."""
    apns_team_id: str | None = None
    """The Apple team that the app belongs to; unset, links open in the browser."""
    apns_key_id: str | None = None
    """Unset, nothing is pushed; the key itself is the notifier's alone."""
    apns_topic: str = "com.example.expresscharge.ios"
    """The app's bundle id."""
    privacy_url: HttpUrl | None = None
    """Where the operator publishes how data is used."""
    terms_url: HttpUrl | None = None

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in {"http", "https"}
                or not parts.hostname
                or f"{parts.scheme}://{parts.netloc}" != origin
            ):
                raise ValueError("must be origins such as https://app.example.com, separated by commas")
        return tuple(origin.lower() for origin in origins)

    @property
    def push_enabled(self) -> bool:
        """Whether the notifier is set up to push; it alone knows the key."""
        return self.apns_key_id is not None and self.apns_team_id is not None

    @property
    def pre_authorize_keys(self) -> tuple[bytes, ...]:
        """The keys that the pre-authorize hook accepts: two while they are changed."""
        return _keys(self.steve_preauth_hmac_key, self.steve_preauth_hmac_key_b)

    @property
    def pre_authorize_on(self) -> bool:
        """Whether the pre-authorize hook decides anything."""
        return self.steve_preauth_enabled and bool(self.pre_authorize_keys)

    @property
    def meter_values_keys(self) -> tuple[bytes, ...]:
        """The keys of the meter-values hook: its own, else the pre-authorize hook's."""
        return _keys(self.steve_metervalue_hmac_key, self.steve_metervalue_hmac_key_b) or self.pre_authorize_keys


def _keys(*secrets: SecretStr | None) -> tuple[bytes, ...]:
    return tuple(secret.get_secret_value().encode() for secret in secrets if secret is not None)
