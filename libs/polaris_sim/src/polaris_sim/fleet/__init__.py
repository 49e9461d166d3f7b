"""A fleet of cars that charge at the simulated SteVe's stations."""

from polaris_sim.fleet.curve import CAR_MODELS, CarModel, charging_power_w
from polaris_sim.fleet.fleet import DEFAULT_BOXES, CarState, Fleet, FleetBox

__all__ = ["CAR_MODELS", "DEFAULT_BOXES", "CarModel", "CarState", "Fleet", "FleetBox", "charging_power_w"]
