"""How one simulated Lago behaves."""

from dataclasses import dataclass, field
from enum import StrEnum

import httpx

from polaris_sim.clock import SimClock
from polaris_sim.faults import FaultPlan


class EventStore(StrEnum):
    """Where the organization keeps its events; it decides what a duplicate is."""

    POSTGRES = "postgres"
    CLICKHOUSE = "clickhouse"


@dataclass
class WebhookSwitches:
    """How badly webhooks are delivered."""

    retry_scale: float = 1.0
    """Factor on the waits between the three attempts (about 3 s and 18 s)."""
    duplicate: bool = False
    """Deliver every record twice, with the same unique key."""
    out_of_order: bool = False
    """Deliver what is waiting newest first."""
    gather_seconds: float = 0.1
    """How long out-of-order delivery gathers records before it sends them."""
    drop: float = 0.0
    """Probability that a record is lost and never sent."""


@dataclass
class LagoConfig:
    """The settings of a simulated organization; the fields may be changed while it runs."""

    api_key: str = "lago-sim-key"
    store: EventStore = EventStore.POSTGRES
    clock: SimClock = field(default_factory=SimClock)
    faults: FaultPlan = field(default_factory=FaultPlan)
    premium: bool = False
    batch_limit: int = 100
    partial_batches: bool = False
    """Store the good events of a refused batch, as servers before December 2025 do."""
    stale_cache: bool = False
    """Keep answering the first ``current_usage`` and the first ``total_count`` seen."""
    invoice_grace_period: int = 0
    """Days that an invoice stays draft; only with ``premium``."""
    currency: str = "EUR"
    timezone: str = "UTC"
    base_url: str = "https://lago.example"
    webhook_url: str | None = None
    """An endpoint that exists from the start and gets every type."""
    webhook_secret: str = "lago-sim-hmac-key"
    webhook_transport: httpx.AsyncBaseTransport | None = None
    webhooks: WebhookSwitches = field(default_factory=WebhookSwitches)
    seed: int = 0
