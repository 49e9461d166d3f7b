"""The notifier's configuration."""

from pydantic import Field

from polaris_common.settings import (
    ApnsSettings,
    DatabaseSettings,
    EmailSettings,
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
    sse_max_streams: int = Field(default=10_000, ge=1)
    """Open streams of one process; more get 503."""
    sse_max_streams_per_user: int = Field(default=10, ge=1)
    """Beyond it a person's oldest stream is closed."""
    sse_heartbeat_seconds: float = Field(default=15, gt=0)
    """How often a stream is greeted and its session looked at again."""
