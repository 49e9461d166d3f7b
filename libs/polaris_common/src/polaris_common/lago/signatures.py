"""Did Lago send this? Both of its signatures, checked against the exact bytes that arrived (lago.md §2.1).

HMAC is the better choice: with JWT the signature header carries the whole body again and outgrows what proxies accept.
Neither signature covers a header or a time.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping

import jwt
import structlog
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from polaris_common.lago.client import LagoRefused, LagoUnavailable

log = structlog.get_logger(__name__)

SIGNATURE_HEADER = "x-lago-signature"
ALGORITHM_HEADER = "x-lago-signature-algorithm"
KEY_REFETCH_SECONDS = 60.0
"""Forged requests make us ask Lago for its key at most this often."""


class SignatureMissing(Exception):
    """The request carries no signature; answer 401 ``missing_signature``."""


class SignatureInvalid(Exception):
    """The signature does not belong to this body; answer 401 ``invalid_signature``."""


class SignatureUncheckable(Exception):
    """Lago's public key cannot be had now: neither right nor wrong; answer 503, Lago sends again."""


def hmac_matches(secret: str, raw_body: bytes, signature: str) -> bool:
    """Whether ``signature`` is the base64 of HMAC-SHA256 over the body; in constant time."""
    expected = base64.b64encode(hmac.new(secret.encode(), raw_body, hashlib.sha256).digest())
    return hmac.compare_digest(expected, signature.strip().encode("utf-8", "replace"))


def jwt_matches(public_key: bytes, raw_body: bytes, token: str) -> bool:
    """Whether ``token`` is signed by Lago (RS256 and nothing else) and was made for exactly this body."""
    try:
        claims = jwt.decode(token, public_key, algorithms=["RS256"], options={"verify_aud": False, "verify_iss": False})
    except (jwt.PyJWTError, ValueError, TypeError):
        return False
    data = claims.get("data")
    return isinstance(data, str) and hmac.compare_digest(data.encode("utf-8", "replace"), raw_body)


class WebhookVerifier:
    """Checks the signatures of one Lago organization.

    ``hmac_secret``: the organization's HMAC key, when its endpoint signs with it. ``public_key``: fetches the key for
    JWT; it is asked on the first JWT and again when a signature does not match, once a minute at most.
    """

    def __init__(
        self, *, hmac_secret: str | None = None, public_key: Callable[[], Awaitable[bytes]] | None = None
    ) -> None:
        self._hmac_secret, self._fetch_key = hmac_secret, public_key
        self._key: bytes | None = None
        self._asked_at: float | None = None

    async def verify(self, raw_body: bytes, headers: Mapping[str, str]) -> None:
        """Return if Lago sent exactly this body; ``headers`` by lower-case name.

        Raises:
            SignatureMissing, SignatureInvalid, SignatureUncheckable: as the classes say.
        """
        signature = headers.get(SIGNATURE_HEADER)
        if not signature:
            raise SignatureMissing
        if headers.get(ALGORITHM_HEADER, "jwt").lower() == "hmac":
            if self._hmac_secret is None or not hmac_matches(self._hmac_secret, raw_body, signature):
                raise SignatureInvalid
        elif not await self._jwt_matches(raw_body, signature):
            raise SignatureInvalid

    async def _jwt_matches(self, raw_body: bytes, token: str) -> bool:
        if self._fetch_key is None:
            return False
        if self._key is not None and jwt_matches(self._key, raw_body, token):
            return True
        changed = await self._refetch()
        if self._key is None:
            raise SignatureUncheckable
        return changed and jwt_matches(self._key, raw_body, token)

    async def _refetch(self) -> bool:
        """Ask Lago for its key, unless that was done a moment ago; whether there is another key now."""
        if self._fetch_key is None or (
            self._asked_at is not None and time.monotonic() - self._asked_at < KEY_REFETCH_SECONDS
        ):
            return False
        self._asked_at, before = time.monotonic(), self._key
        try:
            key = await self._fetch_key()
            load_pem_public_key(key)
        except (LagoUnavailable, LagoRefused, ValueError) as error:
            log.warning("lago_public_key_unavailable", error=type(error).__name__)
            return False
        self._key = key
        return key != before
