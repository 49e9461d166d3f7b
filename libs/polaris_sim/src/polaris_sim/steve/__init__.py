"""A simulator of SteVe: its REST API, the fork's two hooks, and the late world behind it."""

from polaris_sim.steve.app import create_app
from polaris_sim.steve.config import HookConfig, SteveConfig
from polaris_sim.steve.model import AuthStatus, StationBehaviour
from polaris_sim.steve.profile import Profile
from polaris_sim.steve.simulator import Sample, StartResult, SteveSimulator, StopResult
from polaris_sim.steve.station import Station

__all__ = [
    "AuthStatus",
    "HookConfig",
    "Profile",
    "Sample",
    "StartResult",
    "Station",
    "StationBehaviour",
    "SteveConfig",
    "SteveSimulator",
    "StopResult",
    "create_app",
]
