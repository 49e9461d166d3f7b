"""Configuration, read once at start from the environment, typed.

Each group below is a mixin; a service's settings class combines the groups it needs. ``load`` turns every problem into
one sentence that names the variable and never its value.
"""

import os
import sys
import warnings
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIN_SECRET_LENGTH = 32

OLD_NAMES = {
    "STEVE_API_URL": "STEVE_BASE_URL",
    "AUTH_URL": "CUSTOMER_BASE_URL",
    "LOG_LEVEL": "DEBUG_LEVEL",
    "DENO_ENV": "DEPLOY_ENV",
    "PORT": "GATEWAY_PORT",
}
"""Names of other installations that still work where the new name is not set (domain.md §8)."""

NO_LONGER_READ = {
    "STEVE_CONTAINER_NAME": "taps are heard through SteVe's hook, not its log",
    "DOCKER_SOCKET_PATH": "no service needs Docker",
    "SYNC_LOOKBACK_MINUTES": "every transaction is followed until its end",
    "SSE_TRANSPORT": "streams work on any number of replicas",
    "MAGIC_LINK_INVITE_TTL_SECONDS": "it was never used",
}
"""Names of other installations that mean nothing here, and why."""


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < MIN_SECRET_LENGTH:
        raise ValueError(f"must have at least {MIN_SECRET_LENGTH} characters")
    return secret


def _without_slash(url: str) -> str:
    return url.rstrip("/")


def _http_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return _without_slash(url)


def _comma_list(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        try:
            ip_network(network, strict=False)
        except ValueError:
            raise ValueError("must be addresses or networks such as 10.0.0.0/8, separated by commas") from None
    return networks


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_list)]
"""Written ``a, b, c``."""

NetworkList = Annotated[CommaList, AfterValidator(_networks)]
"""Addresses and networks, separated by commas."""

Secret = Annotated[SecretStr, AfterValidator(_long_enough)]
"""A secret of ours: at least 32 characters."""

HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""An http(s) address without a trailing slash."""


class SettingsError(Exception):
    """The environment does not configure the service; the text names each variable."""


class SettingsGroup(BaseSettings):
    """How every group reads: a variable that is empty is not set.

    On every group and not only on ``Settings``: of several bases pydantic takes the last one's configuration.
    """

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=False, env_ignore_empty=True)


class Settings(SettingsGroup):
    """What every service reads."""

    debug_level: str = Field(default="INFO", validation_alias=AliasChoices("DEBUG_LEVEL", "LOG_LEVEL"))
    """ERROR, WARN, INFO or DEBUG."""
    app_version: str = "dev"
    deploy_env: str = Field(default="production", validation_alias=AliasChoices("DEPLOY_ENV", "DENO_ENV"))
    alive_file: Path | None = None
    """Kept fresh by processes without HTTP, for health checks; see ``polaris_common.alive``."""
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    """Where this process shows its figures to Prometheus; unset, nowhere."""
    metrics_host: str = "0.0.0.0"  # noqa: S104 - in a container; a port that nobody set is not open
    metrics_token: SecretStr | None = None
    """The bearer token that a scrape must send; unset, the port alone decides who gets in."""

    @field_validator("debug_level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        if level.upper() not in {"ERROR", "WARN", "WARNING", "INFO", "DEBUG"}:
            raise ValueError("must be ERROR, WARN, INFO or DEBUG")
        return level.upper()


class DatabaseSettings(SettingsGroup):
    """PostgreSQL."""

    database_url: str
    database_pool_size: int = Field(default=10, ge=1, le=200)

    @field_validator("database_url")
    @classmethod
    def _asyncpg(cls, url: str) -> str:
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
            raise ValueError("must start with postgresql://")
        return f"postgresql+asyncpg://{rest}"


class RedisSettings(SettingsGroup):
    """Redis, for jobs and telemetry; nothing durable lives there."""

    redis_url: str = "redis://localhost:6379/0"

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: str) -> str:
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        return url


class SteveSettings(SettingsGroup):
    """SteVe's REST API (HTTP Basic)."""

    steve_base_url: HttpUrl = Field(validation_alias=AliasChoices("STEVE_BASE_URL", "STEVE_API_URL"))
    """Up to and with the context path, e.g. ``https://ocpp.example.com/steve``; ``/api/v1`` is appended."""
    steve_api_username: str
    steve_api_key: SecretStr


class ProtectedTagsSettings(SettingsGroup):
    """Tags that no conclusion may block."""

    tag_sync_protected_tags: CommaList = ()
    """IdTags that are never blocked or unblocked by a conclusion, only by a person who switches their mapping off."""


class HookSettings(SettingsGroup):
    """The two hooks in SteVe's fork; a hook without a key answers 401. While keys are changed, two are good."""

    steve_preauth_hmac_key: Secret | None = None
    steve_preauth_hmac_key_b: Secret | None = None
    steve_metervalue_hmac_key: Secret | None = None
    """This and the next fall back to the pre-authorize keys."""
    steve_metervalue_hmac_key_b: Secret | None = None
    steve_preauth_enabled: bool = True
    """Off: the pre-authorize hook answers 503 and SteVe decides alone."""
    steve_preauth_max_age_seconds: int | None = Field(default=None, ge=1, le=3_600)
    """A tap whose signed ``ts`` is further from now is refused, and a repeated one gets its first answer."""


class LagoSettings(SettingsGroup):
    """Lago. Without address and key billing is inert: energy is ledgered and waits."""

    lago_api_url: HttpUrl | None = None
    """Without ``/api/v1``."""
    lago_api_key: SecretStr | None = None
    lago_metric_code: str = "ev_charging_kwh"


class HttpSettings(SettingsGroup):
    """Of every service with HTTP."""

    trusted_proxies: NetworkList = ("127.0.0.0/8", "::1")
    """Where our reverse proxies call from; only their X-Forwarded-* headers say who the client is."""


class LagoWebhookSettings(SettingsGroup):
    """What the receiver of Lago's webhooks needs besides ``LagoSettings``."""

    lago_webhook_hmac_key: SecretStr | None = None
    """The organization's HMAC key from Lago's dashboard, when its webhook endpoint signs with HMAC (recommended)."""


class AuthSecretSettings(SettingsGroup):
    """The secret that keys are derived from."""

    auth_secret: Secret


class IdentitySettings(AuthSecretSettings):
    """Sign-in and the two hosts."""

    admin_base_url: HttpUrl
    customer_base_url: HttpUrl = Field(validation_alias=AliasChoices("CUSTOMER_BASE_URL", "AUTH_URL"))
    admin_extra_hosts: CommaList = ()
    """Further host names of the admin surface, for development."""
    customer_extra_hosts: CommaList = ()
    """Further host names of the customer surface, for development."""
    cookie_domain: str
    customer_session_ttl_seconds: int = Field(default=28_800, ge=60)

    @model_validator(mode="after")
    def _two_hosts(self) -> Self:
        if self.admin_hosts & self.customer_hosts:
            raise ValueError("must give ADMIN_BASE_URL and CUSTOMER_BASE_URL different host names")
        return self

    @property
    def admin_hosts(self) -> frozenset[str]:
        """Every host name of the admin surface."""
        return frozenset({self.admin_host, *map(str.lower, self.admin_extra_hosts)})

    @property
    def customer_hosts(self) -> frozenset[str]:
        """Every host name of the customer surface."""
        return frozenset({self.customer_host, *map(str.lower, self.customer_extra_hosts)})

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
    def customer_lifetime(self) -> timedelta:
        """How long a driver's session lives, counted from sign-in."""
        return timedelta(seconds=self.customer_session_ttl_seconds)


class ApnsSettings(SettingsGroup):
    """Push by Apple's service. Without a key nothing is pushed; devices hear of everything by their stream."""

    apns_key_id: str | None = None
    apns_team_id: str | None = None
    """The Apple team that the app belongs to."""
    apns_key_base64: SecretStr | None = None
    """The whole ``.p8`` file in base64."""
    apns_topic: str = "com.example.expresscharge.ios"
    """The app's bundle id."""
    apns_production_url: HttpUrl = "https://api.push.apple.com"
    apns_sandbox_url: HttpUrl = "https://api.sandbox.push.apple.com"
    apns_ca_file: FilePath | None = None
    """Certificates (PEM) to trust in place of the system's: for a stand-in of Apple's service."""


class SignInSettings(SettingsGroup):
    """How operators and drivers prove who they are."""

    magic_link_ttl_seconds: int = Field(default=900, ge=60, le=86_400)
    admin_password_reset_ttl_seconds: int = Field(default=86_400, ge=60, le=604_800)
    admin_oidc_issuer: HttpUrl | None = None
    """Operators sign in there; then passwords are off unless ``admin_auth_show_fallback``."""
    admin_oidc_client_id: str | None = None
    admin_oidc_client_secret: SecretStr | None = None
    """Unset: a public client."""
    admin_oidc_admin_group: str | None = None
    """Its members become operators, and nobody else signs in; unset: only operators that exist already."""
    admin_oidc_groups_claim: str = "groups"
    admin_auth_show_fallback: bool = False

    @model_validator(mode="after")
    def _issuer_and_client(self) -> Self:
        if (self.admin_oidc_issuer is None) != (self.admin_oidc_client_id is None):
            raise ValueError("must give ADMIN_OIDC_ISSUER and ADMIN_OIDC_CLIENT_ID together")
        return self

    @property
    def oidc_enabled(self) -> bool:
        """Whether operators sign in with an identity provider."""
        return self.admin_oidc_issuer is not None

    @property
    def admin_passwords_enabled(self) -> bool:
        """Whether operators may sign in with a password."""
        return not self.oidc_enabled or self.admin_auth_show_fallback


S = TypeVar("S", bound=BaseSettings)


def load(settings: type[S], **overrides: Any) -> S:
    """Read ``settings`` from the environment.

    Raises:
        SettingsError: one line for each variable that is missing or unusable.
    """
    try:
        loaded = settings(**overrides)
    except ValidationError as problem:
        raise SettingsError("\n".join(_sentence(error) for error in problem.errors())) from None
    _warn_about_aliases()
    return loaded


def load_or_exit(settings: type[S]) -> S:
    """As ``load``; on a problem say it on stderr and leave with status 2."""
    try:
        return load(settings)
    except SettingsError as problem:
        sys.stderr.write(f"Configuration error: {problem}\n")
        raise SystemExit(2) from None


def _sentence(error: Any) -> str:
    variable = str(error["loc"][0]).upper() if error["loc"] else "the environment"
    if error["type"] == "missing":
        return f"{variable} is not set."
    return f"{variable} {error['msg'].removeprefix('Value error, ')}."


def _warn_about_aliases() -> None:
    for old, new in OLD_NAMES.items():
        if new not in os.environ and old in os.environ:
            warnings.warn(f"{old} is an old name; use {new}", DeprecationWarning, stacklevel=3)
