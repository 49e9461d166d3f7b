"""The values of a manual stop, which SteVe has to guess."""

from datetime import datetime

from polaris_sim.steve.model import EventActor, Stop, Transaction, decimal_or_none
from polaris_sim.steve.state import SteveState


def guess_stop(state: SteveState, transaction: Transaction, now: datetime) -> Stop:
    """The last plausible reading, else where the next transaction of the connector starts, else 0 kWh."""
    start = decimal_or_none(transaction.start_value)
    for value in reversed(state.meter_values_of(transaction)):
        reading = value.energy_wh()
        if reading is not None and (start is None or reading >= start):
            return Stop(now, EventActor.MANUAL, value.value_timestamp, str(int(reading)))
    following = state.next_on_connector(transaction)
    if following is not None and following.start_value is not None:
        return Stop(now, EventActor.MANUAL, following.start_timestamp, following.start_value)
    return Stop(now, EventActor.MANUAL, transaction.start_timestamp, transaction.start_value or "0")
