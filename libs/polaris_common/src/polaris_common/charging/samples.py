"""OCPP sampled values: which one is the session's energy register, which ones are power."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from polaris_common.energy import EnergyError, parse_wh

ENERGY_REGISTER = "Energy.Active.Import.Register"
POWER = "Power.Active.Import"
LAST = "Transaction.End"
"""The context of a transaction's last samples (OCPP 1.6 §7.33)."""
_MAX_W = 2_000_000


@dataclass(frozen=True)
class Sample:
    """One OCPP 1.6 SampledValue; absent fields are empty."""

    value: str
    measurand: str = ""
    unit: str = ""
    context: str = ""
    phase: str = ""
    location: str = ""


@dataclass(frozen=True)
class MeterValues:
    """One MeterValue element as the hook delivers it."""

    transaction_id: int
    charge_box_id: str
    connector_id: int
    sampled_at: datetime
    samples: tuple[Sample, ...]

    @property
    def is_last(self) -> bool:
        """Whether the station says that the transaction ends with this; a hint, the end is SteVe's stop."""
        return any(sample.context == LAST for sample in self.samples)


def register_wh(sample: Sample) -> int | None:
    """The Wh on the session's register, or None when ``sample`` is something else or cannot be read.

    OCPP 1.6 §7.31: the measurand defaults to the import register, the unit to Wh, the location to Outlet. A phase's or
    the inlet's register is not the session's.
    """
    if (
        (sample.measurand or ENERGY_REGISTER) != ENERGY_REGISTER
        or sample.phase
        or sample.location not in ("", "Outlet")
    ):
        return None
    try:
        return parse_wh(sample.value, sample.unit or "Wh")
    except EnergyError:
        return None


def power_w(samples: Iterable[Sample]) -> int | None:
    """The import power in W: the whole connector's when there is one, else the phases' sum; None without any."""
    whole, phases = None, []
    for sample in samples:
        if sample.measurand != POWER or sample.location not in ("", "Outlet"):
            continue
        watts = _watts(sample)
        if watts is None:
            continue
        if sample.phase:
            phases.append(watts)
        else:
            whole = watts
    return whole if whole is not None else (sum(phases) if phases else None)


def _watts(sample: Sample) -> int | None:
    factor = {"": 1, "W": 1, "kW": 1000}.get(sample.unit)
    if factor is None:
        return None
    try:
        watts = Decimal(sample.value) * factor
        # Compared before it becomes an int: "1e999999" as an int is a million digits.
        return int(watts) if abs(watts) <= _MAX_W else None
    except (ArithmeticError, ValueError):
        return None
