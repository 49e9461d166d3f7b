"""The sync-worker's configuration."""

from pydantic import Field

from polaris_common.settings import DatabaseSettings, RedisSettings, Settings, SteveSettings


class SyncWorkerSettings(Settings, DatabaseSettings, RedisSettings, SteveSettings):
    """Everything the sync-worker reads from the environment."""

    sync_live_poll_seconds: float = Field(default=30, ge=0)
    """How often SteVe's open transactions are read; 0 = only on signals and in runs."""
    sync_interval_seconds: float = Field(default=900, ge=1)
    """How long after the last completed run the next one is due."""
    sync_on_startup: bool = False
