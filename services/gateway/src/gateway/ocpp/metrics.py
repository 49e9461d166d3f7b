"""What the gateway counts about SteVe's hooks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from prometheus_client import Counter, Histogram

from polaris_common.http.errors import ApiError
from polaris_common.observability.metrics import SECONDS_BUCKETS

HOOK_SECONDS = Histogram(
    "polaris_hook_seconds", "How long SteVe's hooks took to answer.", ["hook"], buckets=SECONDS_BUCKETS
)
HOOKS = Counter("polaris_hooks_total", "SteVe's hooks, by outcome.", ["hook", "outcome"])
TAPS = Counter("polaris_tap_decisions_total", "What SteVe was told about tags.", ["decision"])


@contextmanager
def measured(hook: str) -> Iterator[None]:
    """Count one call of a hook and time it: ``ok``, ``refused`` (the caller's fault) or ``failed`` (ours)."""
    began, outcome = time.perf_counter(), "failed"
    try:
        yield
        outcome = "ok"
    except ApiError as error:
        outcome = "refused" if error.status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed"
        raise
    finally:
        HOOK_SECONDS.labels(hook).observe(time.perf_counter() - began)
        HOOKS.labels(hook, outcome).inc()
