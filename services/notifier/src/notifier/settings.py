"""The notifier's configuration."""

from pydantic import AliasChoices, Field

from polaris_common.email.settings import EmailSettings
from polaris_common.settings import (
    ApnsSettings,
    DatabaseSettings,
    HttpSettings,
    HttpUrl,
    IdentitySettings,
    RedisSettings,
    Settings,
)


class NotifierSettings(
    Settings, DatabaseSettings, RedisSettings, IdentitySettings, EmailSettings, ApnsSettings, HttpSettings
):
    """What the notifier reads from the environment."""

    lago_dashboard_url: HttpUrl | None = None
    """Lago's pages for people; notifications to operators link there."""

    notifier_host: str = "0.0.0.0"  # noqa: S104 - in a container; the reverse proxy is the only neighbour
    notifier_port: int = Field(default=8001, ge=0, le=65_535)
    sse_max_pending_per_client: int = Field(default=100, ge=1)
    """Frames that may wait for one reader before it is sent back to the log."""
    sse_max_streams: int = Field(
        default=10_000, ge=1, validation_alias=AliasChoices("SSE_MAX_STREAMS", "SSE_MAX_CONNECTIONS")
    )
    """Open streams of one process; more get 503."""
    sse_max_operator_streams: int = Field(default=500, ge=1)
    """Of those: operators'; as many are kept for them, up to a tenth."""
    sse_max_device_streams: int = Field(default=5_000, ge=1)
    """Of those: registered devices'."""
    sse_max_log_streams: int = Field(default=100, ge=1)
    """Of those: followed logs of devices."""
    sse_max_streams_per_user: int = Field(default=10, ge=1)
    """Beyond it a person's oldest stream of the same class is closed."""
    sse_max_device_streams_per_address: int = Field(default=3, ge=1)
    """One owner's devices at one address; more get 429."""
    sse_heartbeat_seconds: float = Field(default=15, gt=0)
    """How often a stream is greeted and its session looked at again."""
