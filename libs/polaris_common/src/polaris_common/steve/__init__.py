"""SteVe's REST API, as far as we use it."""

from polaris_common.steve.client import SteveClient, SteveProtocolError, SteveRefused, SteveUnavailable
from polaris_common.steve.wire import SteveChargeBox, SteveTag, SteveTransaction, SteveTransactions

__all__ = [
    "SteveChargeBox",
    "SteveClient",
    "SteveProtocolError",
    "SteveRefused",
    "SteveTag",
    "SteveTransaction",
    "SteveTransactions",
    "SteveUnavailable",
]
