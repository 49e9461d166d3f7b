"""Who may call the API: the rules of HTTP Basic in 3.8 and newer, and of the header key before."""

import base64
import binascii
import hmac
from datetime import datetime, timedelta
from enum import Enum, auto

from starlette.datastructures import Headers

from polaris_sim.clock import SimClock

_CACHE_TIME = timedelta(minutes=10)


class Verdict(Enum):
    """What the credentials of a request are worth."""

    ALLOWED = auto()
    WRONG = auto()
    MISSING = auto()
    NOT_EXPOSED = auto()
    """3.7 without a configured value."""


class Credentials:
    """The one API user. SteVe caches users for 10 minutes, so a rotated password works that much late."""

    def __init__(self, username: str, api_password: str, clock: SimClock) -> None:
        self._username, self._stored, self._clock = username, api_password, clock
        self._cached: tuple[str, datetime] | None = None

    def rotate(self, api_password: str) -> None:
        """Change the stored password; the cached one goes on working until it expires."""
        self._stored = api_password

    def forget(self) -> None:
        """Empty the cache, as a restart does."""
        self._cached = None

    def check_basic(self, headers: Headers) -> Verdict:
        """Judge an ``Authorization: Basic`` header; another scheme counts as no header."""
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return Verdict.MISSING
        try:
            username, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return Verdict.WRONG
        if username.casefold() != self._username.casefold() or not self._current():
            return Verdict.WRONG
        return Verdict.ALLOWED if _same(password, self._current()) else Verdict.WRONG

    def check_key(self, headers: Headers, name: str) -> Verdict:
        """Judge the header key of 3.7."""
        if not self._stored:
            return Verdict.NOT_EXPOSED
        return Verdict.ALLOWED if _same(headers.get(name, ""), self._stored) else Verdict.WRONG

    def _current(self) -> str:
        now = self._clock.now()
        if self._cached is None or not timedelta() <= now - self._cached[1] < _CACHE_TIME:
            self._cached = (self._stored, now)
        return self._cached[0]


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())
