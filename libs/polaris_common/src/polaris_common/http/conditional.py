"""``ETag`` and ``If-None-Match``: an answer that the caller already has is not sent again."""

import hashlib

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

_PRIVATE = "private, no-cache"


def conditional(
    request: Request, answer: BaseModel | bytes, *, media_type: str = "application/json", cache: str = _PRIVATE
) -> Response:
    """``answer`` with its tag, or 304 when ``If-None-Match`` names it."""
    content = answer if isinstance(answer, bytes) else answer.model_dump_json(by_alias=True).encode()
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    headers = {"etag": tag, "cache-control": cache}
    # A proxy that compresses may have weakened the tag; the same bytes are behind it.
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)
