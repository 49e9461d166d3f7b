"""What the billing-bridge counts about itself."""

from prometheus_client import Counter, Histogram

from polaris_common.observability.metrics import SECONDS_BUCKETS

SLICES = Counter("polaris_ledger_slices_total", "Slices written to the ledger.")
DECISIONS = Counter("polaris_ledger_decisions_total", "Billing decisions about sessions, by outcome.", ["status"])
LEDGER_BATCH_SECONDS = Histogram(
    "polaris_ledger_batch_seconds",
    "How long batches of sessions took to be decided and written.",
    buckets=SECONDS_BUCKETS,
)
BATCHES = Counter("polaris_lago_batches_total", "Batches of events that were sent, by Lago's answer.", ["answer"])
BATCH_SECONDS = Histogram(
    "polaris_lago_batch_seconds", "How long Lago took to answer a batch of events.", buckets=SECONDS_BUCKETS
)
EVENTS = Counter("polaris_lago_events_total", "Events, by what came of sending them.", ["outcome"])
