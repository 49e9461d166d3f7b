"""SteVe's signature over a hook's body: ``X-Signature``, hex HMAC-SHA256 of the exact bytes (contract §2.4)."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence

from starlette.types import Receive, Scope

from gateway.ocpp.schemas import InvalidBody
from polaris_common.http.errors import BodyTooLarge, Unauthorized

MAX_BODY_BYTES = 64 * 1024
BODY_SECONDS = 5.0
"""A body that has not arrived after so long never will."""

_HEX_SHA256 = re.compile(rb"[0-9a-fA-F]{64}")


async def signed_body(scope: Scope, receive: Receive, keys: Iterable[bytes]) -> bytes:
    """The body of a request, once its signature under one of ``keys`` is verified.

    Raises:
        BodyTooLarge: more than 64 KiB; nothing beyond them is kept.
        InvalidBody: it ends before it is complete, or takes too long.
        Unauthorized: no key is configured, or the signature is missing, malformed or wrong.
    """
    headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
    given = announced = b""
    for name, value in headers:
        if name == b"x-signature":
            given = value
        elif name == b"content-length":
            announced = value
    if announced.isdigit() and int(announced[:20]) > MAX_BODY_BYTES:
        raise BodyTooLarge
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _read(receive)
    except TimeoutError:
        raise InvalidBody from None
    if not _is_signed(body, given, keys):
        raise Unauthorized("The signature is missing or wrong.")
    return body


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise InvalidBody
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return b"".join(parts)


def _is_signed(body: bytes, given: bytes, keys: Iterable[bytes]) -> bool:
    """Every key is tried, whichever fits: how long it takes says nothing."""
    if not _HEX_SHA256.fullmatch(given):
        return False
    signature = bytes.fromhex(given.decode())
    fits = [hmac.compare_digest(hmac.digest(key, body, hashlib.sha256), signature) for key in keys]
    return any(fits)
