"""Lago's API, as far as we use it."""

from polaris_common.lago.budget import RequestBudget
from polaris_common.lago.client import LagoClient, LagoNotFound, LagoRefused, LagoUnavailable

__all__ = ["LagoClient", "LagoNotFound", "LagoRefused", "LagoUnavailable", "RequestBudget"]
