"""How fast a car charges: ramp-up, plateau by what car and box allow, taper as the battery fills."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CarModel:
    """What a kind of car can take."""

    name: str
    battery_wh: float
    max_ac_w: float
    max_dc_w: float


CAR_MODELS = (
    CarModel("city car", 36_000, 7_400, 50_000),
    CarModel("compact", 58_000, 11_000, 120_000),
    CarModel("saloon", 77_000, 11_000, 170_000),
    CarModel("SUV", 94_000, 22_000, 200_000),
    CarModel("plug-in hybrid", 12_000, 3_700, 0),
)

_AC_RAMP_SECONDS, _DC_RAMP_SECONDS = 15.0, 45.0
_AC_TAPER_FROM, _DC_TAPER_FROM = 0.95, 0.55
_AC_LEFT_WHEN_FULL, _DC_LEFT_WHEN_FULL = 0.25, 0.06


def charging_power_w(car: CarModel, *, box_w: float, dc: bool, charge: float, seconds: float) -> float:
    """The power in W of a car with its battery at ``charge`` (0..1), ``seconds`` after the start.

    0 when the battery is full or the car cannot charge at such a box.
    """
    if charge >= 1:
        return 0.0
    plateau = min(box_w, car.max_dc_w if dc else car.max_ac_w)
    ramp = min(1.0, (seconds + 1) / (_DC_RAMP_SECONDS if dc else _AC_RAMP_SECONDS))
    taper_from = _DC_TAPER_FROM if dc else _AC_TAPER_FROM
    left_when_full = _DC_LEFT_WHEN_FULL if dc else _AC_LEFT_WHEN_FULL
    filled = max(0.0, (charge - taper_from) / (1 - taper_from))
    return plateau * ramp * (1 - filled * (1 - left_when_full))
