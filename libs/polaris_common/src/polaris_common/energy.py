"""Energy as integer watt-hours.

Inside the code, the database and events energy is an ``int`` of Wh. Text from outside (SteVe's register values, kWh in
files) is parsed here, strictly; kWh leaves as a decimal string with three places. No float touches energy.
"""

import re
from decimal import ROUND_FLOOR, Decimal

# SteVe keeps register values as text: plain decimals, no exponent, no sign, no spaces inside (OCPP 1.6 §7.29).
_PLAIN_DECIMAL = re.compile(r"\d{1,18}(?:\.\d{1,18})?", re.ASCII)
_WH_PER_UNIT = {"Wh": Decimal(1), "kWh": Decimal(1000)}

MAX_WH = 10**15
"""No register goes further (a terawatt-hour); larger numbers are noise."""


class EnergyError(ValueError):
    """A text that is not an amount of energy."""

    def __init__(self, text: object, unit: str) -> None:
        super().__init__(f"{text!r} is not a plain non-negative decimal number of {unit}")


def parse_wh(text: object, unit: str = "Wh") -> int:
    """The whole watt-hours in SteVe's ``text``, given in ``unit`` (``Wh`` or ``kWh``).

    A fraction of a watt-hour is cut off, so that a register never shows more than the station measured.

    Raises:
        EnergyError: ``text`` is empty, negative, signed, NaN, in scientific notation, not text, or the unit is no
            unit of energy.
    """
    factor = _WH_PER_UNIT.get(unit)
    if factor is None or not isinstance(text, str):
        raise EnergyError(text, unit)
    stripped = text.strip()
    if not _PLAIN_DECIMAL.fullmatch(stripped):
        raise EnergyError(text, unit)
    wh = int((Decimal(stripped) * factor).to_integral_value(ROUND_FLOOR))
    if wh > MAX_WH:
        raise EnergyError(text, unit)
    return wh


def wh_from_kwh(text: str) -> int:
    """The exact watt-hours in a kWh decimal.

    Raises:
        EnergyError: not a plain decimal, or finer than a watt-hour.
    """
    wh = parse_wh(text, "kWh")
    if Decimal(text.strip()) * 1000 != wh:
        raise EnergyError(text, "kWh with at most three places")
    return wh


def kwh_text(wh: int) -> str:
    """``wh`` as kWh with exactly three decimal places: ``12345`` → ``"12.345"``, ``-5`` → ``"-0.005"``."""
    whole, rest = divmod(abs(wh), 1000)
    return f"{'-' if wh < 0 else ''}{whole}.{rest:03d}"
