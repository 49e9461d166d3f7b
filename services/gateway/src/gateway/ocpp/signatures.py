"""SteVe's signature over a hook's body: ``X-Signature``, hex HMAC-SHA256 of the exact bytes (contract §2.4)."""

import hashlib
import hmac
import re

from starlette.requests import Request

from polaris_common.http.bodies import read_body
from polaris_common.http.errors import Unauthorized

MAX_BODY_BYTES = 64 * 1024

_HEX_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


async def signed_body(request: Request, key: bytes | None) -> bytes:
    """The body of ``request``, once its signature under ``key`` is verified.

    Raises:
        BodyTooLarge: more than 64 KiB.
        Unauthorized: no key is configured, or the signature is missing, malformed or wrong.
    """
    body = await read_body(request, limit=MAX_BODY_BYTES)
    given = request.headers.get("x-signature", "")
    if key is None or not _HEX_SHA256.fullmatch(given):
        raise Unauthorized("The signature is missing or wrong.")
    if not hmac.compare_digest(hmac.digest(key, body, hashlib.sha256), bytes.fromhex(given)):
        raise Unauthorized("The signature is missing or wrong.")
    return body
