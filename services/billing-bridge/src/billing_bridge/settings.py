"""The billing-bridge's configuration."""

from datetime import timedelta

from pydantic import Field

from billing_bridge.watch.service import WatchPolicy
from polaris_common.domain.slicing import SlicePolicy
from polaris_common.settings import DatabaseSettings, LagoSettings, RedisSettings, Settings


class BillingBridgeSettings(Settings, DatabaseSettings, RedisSettings, LagoSettings):
    """Everything the billing-bridge reads from the environment."""

    billing_slice_max_age: float = Field(default=15, gt=0)
    """Minutes after which a slice is cut while the car charges."""
    billing_slice_max_wh: int = Field(default=5_000, gt=0)
    """Watt-hours after which a slice is cut while the car charges."""
    lago_mirror_seconds: float = Field(default=60, gt=0)
    """How often Lago's subscriptions are read."""
    lago_requests_per_second: float = Field(default=40, ge=0)
    """The most requests that Lago gets from one billing-bridge; 0 = as many as there are."""
    billing_unsent_alert_minutes: float = Field(default=15, gt=0)
    """When the oldest event that Lago does not have yet is older than this, operators are told."""
    billing_close_margin_minutes: float = Field(default=60, gt=0)
    """So long before its billing period closes, a subscription's energy goes first and its books are compared."""

    @property
    def slice_policy(self) -> SlicePolicy:
        """When slices are cut."""
        return SlicePolicy(max_age=timedelta(minutes=self.billing_slice_max_age), max_wh=self.billing_slice_max_wh)

    @property
    def watch_policy(self) -> WatchPolicy:
        """When operators are told about energy that waits."""
        return WatchPolicy(
            unsent_after=timedelta(minutes=self.billing_unsent_alert_minutes), close_margin=self.close_margin
        )

    @property
    def close_margin(self) -> timedelta:
        """What "about to close" means."""
        return timedelta(minutes=self.billing_close_margin_minutes)

    @property
    def lago_configured(self) -> bool:
        """Whether there is a Lago to talk to."""
        return self.lago_api_url is not None and self.lago_api_key is not None
