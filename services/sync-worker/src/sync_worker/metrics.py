"""What the sync-worker counts about itself."""

from prometheus_client import Counter, Histogram

from polaris_common.observability.metrics import SECONDS_BUCKETS

RUN_SECONDS = Histogram(
    "polaris_sync_run_seconds", "How long sync runs took, by outcome.", ["outcome"], buckets=SECONDS_BUCKETS
)
LIVE_POLL_SECONDS = Histogram(
    "polaris_live_poll_seconds", "How long looks at SteVe's open transactions took.", buckets=SECONDS_BUCKETS
)
TRANSACTIONS = Counter("polaris_sync_transactions_total", "Transactions of SteVe, by what came of them.", ["outcome"])
