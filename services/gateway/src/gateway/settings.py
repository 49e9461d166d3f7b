"""What the gateway reads from the environment."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, model_validator

from polaris_common.settings import (
    DatabaseSettings,
    HookSettings,
    IdentitySettings,
    LagoSettings,
    LagoWebhookSettings,
    RedisSettings,
    Settings,
)


class GatewaySettings(
    Settings, DatabaseSettings, RedisSettings, HookSettings, LagoSettings, LagoWebhookSettings, IdentitySettings
):
    """The gateway's configuration."""

    host: str = Field(default="0.0.0.0", validation_alias=AliasChoices("GATEWAY_HOST"))  # noqa: S104 - in a container
    port: int = Field(default=8000, ge=0, le=65_535, validation_alias=AliasChoices("GATEWAY_PORT"))

    @model_validator(mode="after")
    def _two_hosts(self) -> Self:
        if self.admin_host == self.customer_host:
            raise ValueError("must give ADMIN_BASE_URL and CUSTOMER_BASE_URL different host names")
        return self

    @property
    def admin_host(self) -> str:
        """The host name of the admin surface, in lower case."""
        return urlsplit(self.admin_base_url).hostname or ""

    @property
    def customer_host(self) -> str:
        """The host name of the customer surface, in lower case."""
        return urlsplit(self.customer_base_url).hostname or ""

    @property
    def secure_cookies(self) -> bool:
        """Whether browsers reach both surfaces over HTTPS; both share the session cookie."""
        return all(url.startswith("https://") for url in (self.admin_base_url, self.customer_base_url))

    @property
    def meter_values_key(self) -> bytes | None:
        """The key of the meter-values hook: its own, else the pre-authorize hook's."""
        secret = self.steve_metervalue_hmac_key or self.steve_preauth_hmac_key
        return secret.get_secret_value().encode() if secret else None

    @property
    def pre_authorize_key(self) -> bytes | None:
        """The key of the pre-authorize hook."""
        secret = self.steve_preauth_hmac_key
        return secret.get_secret_value().encode() if secret else None
