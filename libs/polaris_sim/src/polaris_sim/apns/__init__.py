"""A stand-in for Apple's push service: HTTP/2 over TLS on loopback, with Apple's rules and faults."""

from polaris_sim.apns.server import ApnsServer
from polaris_sim.apns.simulator import ApnsConfig, ApnsSimulator, Fault, Push, Trouble

__all__ = ["ApnsConfig", "ApnsServer", "ApnsSimulator", "Fault", "Push", "Trouble"]
