"""What goes on between two things that happen: a car charges, the workers work."""

from dataclasses import dataclass

from hypothesis import strategies as st

from polaris_sim.faults import Fault, FaultRule
from tests.chaos.city import BRIDGE_JOBS, SYNC_JOBS
from tests.chaos.mortal import Ending

FLOW = ("live_poll", "bill_due", "send_due")
"""The way of energy from SteVe to Lago. It comes up more often than the rest, and is cut off at every point of it."""

FAULTS = (
    Fault.ERROR_BEFORE,
    Fault.ERROR_AFTER,
    Fault.TIMEOUT_AFTER,
    Fault.RATE_LIMITED,
    Fault.HTML_502,
    Fault.RESET,
    Fault.RESET_AFTER,
    Fault.TRUNCATED,
)

AWAY = (Fault.HTML_502, Fault.ERROR_BEFORE, Fault.TIMEOUT_BEFORE, Fault.RESET)
"""Nothing gets through."""

_WORK = (
    (),
    *(FLOW[:1], FLOW[:2], FLOW[:2], FLOW, FLOW, FLOW),
    *(FLOW[1:], FLOW[1:], FLOW[1:2], FLOW[1:2], FLOW[2:], FLOW[2:]),
    *((job,) for job in (*SYNC_JOBS, *BRIDGE_JOBS)),
    ("refresh", *FLOW),
    ("inbox", *FLOW),
)


@dataclass(frozen=True)
class Beat:
    """A car charges so much; then these jobs, of which the last may be cut off after so many steps to the outside.

    ``trouble``: what happens to the next batch of events that Lago gets.
    """

    jobs: tuple[str, ...] = ()
    wh: int = 0
    trouble: Fault | None = None
    steps: int | None = None
    ending: Ending = Ending.KILLED


BEATS = st.builds(
    Beat,
    st.sampled_from(_WORK),
    st.sampled_from((0, 4_000, 11_003)),
    st.one_of(st.none(), st.none(), st.sampled_from(FAULTS)),
    st.one_of(st.none(), st.integers(0, 19)),
    st.sampled_from(tuple(Ending)),
)


def fault_rule(fault: Fault, path: str, times: int) -> FaultRule:
    """So many requests to a path meet a fault."""
    return FaultRule(fault, path=path, times=times, seconds=1 if fault is Fault.RATE_LIMITED else 0)
