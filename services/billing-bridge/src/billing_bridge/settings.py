"""The billing-bridge's configuration."""

from datetime import timedelta

from pydantic import Field

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

    @property
    def slice_policy(self) -> SlicePolicy:
        """When slices are cut."""
        return SlicePolicy(max_age=timedelta(minutes=self.billing_slice_max_age), max_wh=self.billing_slice_max_wh)

    @property
    def lago_configured(self) -> bool:
        """Whether there is a Lago to talk to."""
        return self.lago_api_url is not None and self.lago_api_key is not None
