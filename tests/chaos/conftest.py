"""How many examples, and whether they are the same every time.

``make test`` tries the same few in every run; ``make chaos`` looks for new ones (``CHAOS_EXAMPLES``).
"""

import os

from hypothesis import HealthCheck, settings

_EXAMPLES = os.environ.get("CHAOS_EXAMPLES")

settings.register_profile(
    "chaos",
    max_examples=int(_EXAMPLES or 50),
    derandomize=_EXAMPLES is None,
    stateful_step_count=12,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
