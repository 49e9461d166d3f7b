"""What the notifier counts about itself."""

from collections.abc import Callable

from prometheus_client import Counter, Gauge

MAILS = Counter("polaris_mails", "What became of tries to send a mail.", ["outcome"])
"""``sent``, ``later`` (tried again), ``delayed`` (the recipient's turn comes later) or ``given_up``."""
EVENTS_UNTOLD = Gauge("polaris_events_untold", "Events of the log that nobody has turned into notifications yet.")
NOTIFICATION_FAILURES = Counter(
    "polaris_notification_failures", "Notifications, or mails of them, that could not be made.", ["part"]
)
SSE_CONNECTIONS = Gauge("polaris_sse_connections", "Open streams of this process.")


def count_streams(number: Callable[[], int]) -> None:
    """Ask for the number of open streams whenever somebody scrapes."""
    SSE_CONNECTIONS.set_function(number)
