"""Configuration, read once at start from the environment, typed.

Each group below is a mixin; a service's settings class combines the groups it needs. ``load`` turns every problem into
one sentence that names the variable and never its value.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIN_SECRET_LENGTH = 32


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


Secret = Annotated[SecretStr, AfterValidator(_long_enough)]
"""A secret of ours: at least 32 characters."""

HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""An http(s) address without a trailing slash."""


class SettingsError(Exception):
    """The environment does not configure the service; the text names each variable."""


class _Group(BaseSettings):
    """How every group reads: a variable that is empty is not set.

    On every group and not only on ``Settings``: of several bases pydantic takes the last one's configuration.
    """

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=False, env_ignore_empty=True)


class Settings(_Group):
    """What every service reads."""

    debug_level: str = "INFO"
    """ERROR, WARN, INFO or DEBUG."""
    app_version: str = "dev"
    deploy_env: str = "production"
    alive_file: Path | None = None
    """Kept fresh by processes without HTTP, for health checks; see ``polaris_common.alive``."""

    @field_validator("debug_level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        if level.upper() not in {"ERROR", "WARN", "WARNING", "INFO", "DEBUG"}:
            raise ValueError("must be ERROR, WARN, INFO or DEBUG")
        return level.upper()


class DatabaseSettings(_Group):
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


class RedisSettings(_Group):
    """Redis, for jobs and telemetry; nothing durable lives there."""

    redis_url: str = "redis://localhost:6379/0"

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: str) -> str:
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        return url


class SteveSettings(_Group):
    """SteVe's REST API (HTTP Basic)."""

    steve_base_url: HttpUrl = Field(validation_alias=AliasChoices("STEVE_BASE_URL", "STEVE_API_URL"))
    """Up to and with the context path, e.g. ``https://ocpp.example.com/steve``; ``/api/v1`` is appended."""
    steve_api_username: str
    steve_api_key: SecretStr


class HookSettings(_Group):
    """Keys of the two hooks in SteVe's fork; without a key the hook answers 401."""

    steve_preauth_hmac_key: Secret | None = None
    steve_metervalue_hmac_key: Secret | None = None
    """Falls back to the pre-authorize key."""


class LagoSettings(_Group):
    """Lago. Without address and key billing is inert: energy is ledgered and waits."""

    lago_api_url: HttpUrl | None = None
    """Without ``/api/v1``."""
    lago_api_key: SecretStr | None = None
    lago_metric_code: str = "ev_charging_kwh"


class LagoWebhookSettings(_Group):
    """What the receiver of Lago's webhooks needs besides ``LagoSettings``."""

    lago_webhook_hmac_key: SecretStr | None = None
    """The organization's HMAC key from Lago's dashboard, when its webhook endpoint signs with HMAC (recommended)."""


class IdentitySettings(_Group):
    """Sign-in and the two hosts."""

    auth_secret: Secret
    admin_base_url: HttpUrl
    customer_base_url: HttpUrl
    cookie_domain: str
    customer_session_ttl_seconds: int = Field(default=28_800, ge=60)


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
    if "STEVE_BASE_URL" not in os.environ and "STEVE_API_URL" in os.environ:
        warnings.warn("STEVE_API_URL is an old name; use STEVE_BASE_URL", DeprecationWarning, stacklevel=3)
