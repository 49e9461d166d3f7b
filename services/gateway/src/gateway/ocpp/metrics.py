"""What the gateway counts about SteVe's hooks."""

import time
from http import HTTPStatus

from prometheus_client import Counter, Histogram

from polaris_common.domain.tap_decision import TapReason
from polaris_common.http.errors import ApiError
from polaris_common.observability.metrics import SECONDS_BUCKETS

HOOK_SECONDS = Histogram(
    "polaris_hook_seconds", "How long SteVe's hooks took to answer.", ["hook"], buckets=SECONDS_BUCKETS
)
HOOKS = Counter("polaris_hooks_total", "SteVe's hooks, by outcome.", ["hook", "outcome"])
TAPS = Counter("polaris_tap_decisions_total", "What SteVe was told about tags, by reason.", ["reason"])
_TAPS_BY_REASON = {reason: TAPS.labels(reason.value) for reason in TapReason}


class HookFigures:
    """Counts one hook's calls and times them. The hooks are hot: what can be looked up is looked up once."""

    def __init__(self, hook: str) -> None:
        self._seconds = HOOK_SECONDS.labels(hook)
        self._ok, self._refused, self._failed = (HOOKS.labels(hook, each) for each in ("ok", "refused", "failed"))

    def count(self, began: float, error: Exception | None = None) -> None:
        """One call since ``began``: ``ok``, ``refused`` (the caller's fault) or ``failed`` (ours)."""
        self._seconds.observe(time.perf_counter() - began)
        if error is None:
            self._ok.inc()
        elif isinstance(error, ApiError) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._refused.inc()
        else:
            self._failed.inc()


def count_tap(reason: TapReason) -> None:
    """SteVe was told something."""
    _TAPS_BY_REASON[reason].inc()
