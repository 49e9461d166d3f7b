"""Logs that say what happened and never a secret."""

from polaris_common.observability.logging import configure_logging

__all__ = ["configure_logging"]
