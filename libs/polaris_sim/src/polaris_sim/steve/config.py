"""How one simulated SteVe is set up."""

from dataclasses import dataclass, field

from polaris_sim.clock import SimClock
from polaris_sim.steve.profile import Profile


@dataclass(frozen=True)
class HookConfig:
    """Where the fork's two hooks go, and what goes wrong with them.

    A hook is sent when it has a URL and is enabled; ``None`` means: enabled if the profile has hooks.
    """

    pre_authorize_url: str | None = None
    pre_authorize_key: str = ""
    pre_authorize_enabled: bool | None = None
    meter_values_url: str | None = None
    meter_values_key: str = ""
    meter_values_enabled: bool | None = None
    timeout_seconds: float = 0.2
    """Budget of a pre-authorize call; after it SteVe's own decision stands."""
    meter_values_timeout_seconds: float = 10.0
    concurrency: int = 32
    host: str | None = None
    """The ``Host`` header, if not that of the URL."""
    wrong_key: bool = False
    """Sign with a key that the receiver does not have."""
    shuffle: bool = False
    """Send waiting meter values in random order."""
    drop: float = 0.0
    """Fraction of meter values that are lost."""
    duplicate: float = 0.0
    """Fraction of meter values that are sent twice."""
    seed: int = 0


@dataclass(frozen=True)
class SteveConfig:
    """How one simulated SteVe is set up."""

    profile: Profile = Profile.V3_12_FORK
    username: str = "polaris"
    api_password: str = "steve-api-password"
    api_key_header: str = "STEVE-API-KEY"
    """3.7 only: the header that carries ``api_password``."""
    context_path: str = "/steve"
    clock: SimClock | None = None
    seed: int = 0
    hooks: HookConfig = field(default_factory=HookConfig)
    missing_header_redirects: bool = False
    """No Authorization header: 302 to the sign-in page in place of 403."""
    unknown_path_redirects: bool = False
    """What the profile lacks: 302 to the sign-in page in place of 404."""
    zone_offset_hours: float = 0.0
    """Dates go out with this offset, as when an operator changed SteVe's zone."""
    operation_timeout_seconds: float = 30.0
    """How long an operation waits for the station before ``taskFinished`` is false."""
    names_reservations: bool = False
    """ReserveNow's answer carries ``reservationId`` beside the station's word; no release of today's says it."""
    task_history: int = 1000
    """How many tasks are remembered; older ones are evicted."""
    pre_authorize_operations: bool = True
    """RemoteStartTransaction and ReserveNow ask the pre-authorize hook too, as the fork does."""
