"""The sync-worker's configuration."""

from datetime import UTC, datetime, timedelta

from pydantic import Field, field_validator

from polaris_common.domain.cadence import CadencePolicy, next_match
from polaris_common.domain.session_state import Limits
from polaris_common.settings import DatabaseSettings, ProtectedTagsSettings, RedisSettings, Settings, SteveSettings
from sync_worker.tags.service import TagPolicy


class SyncWorkerSettings(Settings, DatabaseSettings, RedisSettings, SteveSettings, ProtectedTagsSettings):
    """Everything the sync-worker reads from the environment."""

    sync_live_poll_seconds: float = Field(default=30, ge=0)
    """How often SteVe's open transactions are read; 0 = only on signals and in runs."""
    sync_active_seconds: float = Field(default=900, ge=1)
    """How long after the last completed run the next one is due while the fleet is active."""
    sync_idle_seconds: float = Field(default=3_600, ge=1)
    """The same while it is idle."""
    sync_dormant_seconds: float = Field(default=604_800, ge=1)
    """The same while it is dormant."""
    sync_idle_hysteresis_ticks: int = Field(default=2, ge=1)
    """So many quiet evaluations in a row take a charge box down by one tier."""
    sync_dormant_threshold_days: float = Field(default=30, gt=0)
    """Without a session or a tag change for so long, an idle charge box may become dormant."""
    sync_cron_schedule: str | None = None
    """A fixed schedule (cron, UTC) in place of the tiers' intervals."""
    sync_on_startup: bool = False
    sync_nightly_hour: int = Field(default=2, ge=0, le=23)
    """From this hour (UTC) the day's first run reads SteVe's whole table."""
    sync_max_power_kw: int = Field(default=500, ge=1)
    """A session with more energy than this power gives in its time is set aside."""
    sync_zombie_silent_hours: float = Field(default=48, gt=0)
    """An open session of which nothing was heard for so long is set aside."""
    sync_readings_seconds: float = Field(default=60, ge=0)
    """An open session of which no sample arrived for so long is read from SteVe; 0 = never."""
    sync_readings_per_poll: int = Field(default=20, ge=1)
    """At most so many sessions are read at a time."""
    reservation_lead_minutes: float = Field(default=5, ge=0, le=60)
    """So long before its start a reservation is given to the charger, which then refuses everybody else."""
    auto_stop_patience_minutes: float = Field(default=5, gt=0)
    """A session that still runs so long after its stop was wanted is reported to operators."""
    tag_sync_enabled: bool = True
    """Whether limits of tags are written to SteVe at all; without it SteVe's tags are only mirrored."""
    tag_sync_max_block_ratio: float = Field(default=0.10, ge=0, le=1)
    """The part of all tags that one run may block without an operator's consent; three tags it always may."""

    @field_validator("sync_cron_schedule")
    @classmethod
    def _usable_cron(cls, cron: str | None) -> str | None:
        if cron is not None:
            next_match(cron, after=datetime(2026, 1, 1, tzinfo=UTC))
        return cron

    @property
    def cadence_policy(self) -> CadencePolicy:
        """How often to look."""
        return CadencePolicy(
            active=timedelta(seconds=self.sync_active_seconds),
            idle=timedelta(seconds=self.sync_idle_seconds),
            dormant=timedelta(seconds=self.sync_dormant_seconds),
            hysteresis_ticks=self.sync_idle_hysteresis_ticks,
            dormant_after=timedelta(days=self.sync_dormant_threshold_days),
            cron=self.sync_cron_schedule,
        )

    @property
    def session_limits(self) -> Limits:
        """What is believable of a session."""
        return Limits(max_power_w=self.sync_max_power_kw * 1_000)

    @property
    def silent_after(self) -> timedelta:
        """When an open session counts as a zombie."""
        return timedelta(hours=self.sync_zombie_silent_hours)

    @property
    def tag_policy(self) -> TagPolicy:
        """What may be done to tags."""
        return TagPolicy(
            enabled=self.tag_sync_enabled,
            max_block_ratio=self.tag_sync_max_block_ratio,
            protected=frozenset(self.tag_sync_protected_tags),
        )
