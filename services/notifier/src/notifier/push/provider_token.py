"""What we prove to Apple who we are with: a JWT under the team's key (ES256), used for 50 minutes.

Apple refuses one older than an hour, and whoever makes a new one more often than every 20 minutes.
"""

import base64
import binascii
from datetime import timedelta

import jwt
import structlog
from cryptography.exceptions import UnsupportedAlgorithm

from polaris_common.clock import Clock
from polaris_common.settings import ApnsSettings

REUSED_FOR = timedelta(minutes=50)
RENEWED_AT_MOST_EVERY = timedelta(minutes=20)

log = structlog.get_logger(__name__)


class ProviderToken:
    """Makes the token and keeps it."""

    def __init__(self, settings: ApnsSettings, clock: Clock) -> None:
        self._key_id, self._team_id, self._clock = settings.apns_key_id, settings.apns_team_id, clock
        self._key = _pem(settings)
        self._token: str | None = None
        self._made_at = clock.now()

    def current(self) -> str | None:
        """The token; None where none can be made, because the key is missing or unusable."""
        now = self._clock.now()
        if self._token is None or not timedelta() <= now - self._made_at < REUSED_FOR:
            self._token, self._made_at = self._made(), now
        return self._token

    def renew(self) -> bool:
        """Make another one, since Apple calls this one too old; False when it is too young for that."""
        if self._clock.now() - self._made_at < RENEWED_AT_MOST_EVERY:
            return False
        self._token = None
        return True

    def _made(self) -> str | None:
        if self._key is None or not self._key_id or not self._team_id:
            return None
        claims = {"iss": self._team_id, "iat": int(self._clock.now().timestamp())}
        try:
            return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._key_id})
        except (ValueError, TypeError, UnsupportedAlgorithm, jwt.PyJWTError) as error:
            log.error("apns_key_unusable", error=type(error).__name__)
            return None


def _pem(settings: ApnsSettings) -> bytes | None:
    if settings.apns_key_base64 is None:
        return None
    try:
        return base64.b64decode("".join(settings.apns_key_base64.get_secret_value().split()), validate=True)
    except (ValueError, binascii.Error) as error:
        log.error("apns_key_unusable", error=type(error).__name__)
        return None
