"""From units to money: Lago's charge models and its rounding."""

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

from polaris_sim.lago.models import ChargeModel
from polaris_sim.lago.wire import JsonObject, number, objects

_NO_MINOR_UNIT = {"JPY", "KRW", "CLP", "ISK", "VND", "XAF", "XOF", "UGX", "PYG", "RWF"}
_Price = Callable[[JsonObject, Decimal, int], Decimal]


def minor_units(currency: str) -> int:
    """How many of the smallest unit make one of the currency."""
    return 1 if currency in _NO_MINOR_UNIT else 100


def to_cents(amount: Decimal, currency: str) -> int:
    """Round half up to the currency's smallest unit (fact 13)."""
    return int((amount * minor_units(currency)).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def price(model: ChargeModel, properties: JsonObject, units: Decimal, events_count: int) -> Decimal:
    """The exact amount, in the currency's main unit, of ``units`` under a charge model; 0 for no units."""
    return _PRICES[model](properties, units, events_count) if units else Decimal(0)


def _standard(properties: JsonObject, units: Decimal, events_count: int) -> Decimal:
    return units * number(properties, "amount")


def _graduated(properties: JsonObject, units: Decimal, events_count: int) -> Decimal:
    total, reached = Decimal(0), Decimal(0)
    for tier in objects(properties, "graduated_ranges"):
        if units <= reached:
            break
        upper = units if tier.get("to_value") is None else min(units, number(tier, "to_value"))
        total += (upper - reached) * number(tier, "per_unit_amount") + number(tier, "flat_amount")
        reached = upper
    return total


def _volume(properties: JsonObject, units: Decimal, events_count: int) -> Decimal:
    for tier in objects(properties, "volume_ranges"):
        if tier.get("to_value") is None or units <= number(tier, "to_value"):
            return units * number(tier, "per_unit_amount") + number(tier, "flat_amount")
    return Decimal(0)


def _package(properties: JsonObject, units: Decimal, events_count: int) -> Decimal:
    paid = max(Decimal(0), units - number(properties, "free_units"))
    size = number(properties, "package_size", Decimal(1)) or Decimal(1)
    return (paid / size).to_integral_value(rounding=ROUND_CEILING) * number(properties, "amount")


def _percentage(properties: JsonObject, units: Decimal, events_count: int) -> Decimal:
    paid_events = max(Decimal(0), events_count - number(properties, "free_units_per_events"))
    return units * number(properties, "rate") / 100 + paid_events * number(properties, "fixed_amount")


def _unpriced(properties: JsonObject, units: Decimal, events_count: int) -> Decimal:
    return Decimal(0)


_PRICES: dict[ChargeModel, _Price] = {
    ChargeModel.STANDARD: _standard,
    ChargeModel.GRADUATED: _graduated,
    ChargeModel.VOLUME: _volume,
    ChargeModel.PACKAGE: _package,
    ChargeModel.PERCENTAGE: _percentage,
    ChargeModel.DYNAMIC: _unpriced,
    ChargeModel.GRADUATED_PERCENTAGE: _unpriced,
}
