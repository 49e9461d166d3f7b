"""A simulated Lago (https://getlago.com): REST API, billing clock and webhooks, in memory."""

from polaris_sim.lago.app import create_app
from polaris_sim.lago.config import EventStore, LagoConfig, WebhookSwitches
from polaris_sim.lago.simulator import LagoSimulator

__all__ = ["EventStore", "LagoConfig", "LagoSimulator", "WebhookSwitches", "create_app"]
