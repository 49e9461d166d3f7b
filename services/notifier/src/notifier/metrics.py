"""What the notifier counts about itself."""

from collections.abc import Callable

from prometheus_client import Gauge

SSE_CONNECTIONS = Gauge("polaris_sse_connections", "Open streams of this process.")


def count_streams(number: Callable[[], int]) -> None:
    """Ask for the number of open streams whenever somebody scrapes."""
    SSE_CONNECTIONS.set_function(number)
