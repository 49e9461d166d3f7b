"""Bodies that come as JSON or as a form."""

import json
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request

from polaris_common.http.bodies import read_body

MAX_FORM_BYTES = 16 * 1024
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


async def fields_of(request: Request) -> Any:
    """What the body says; usually an object.

    Raises:
        BodyTooLarge: it has more than 16 KiB.
        RequestValidationError: it is neither.
    """
    body = await read_body(request, limit=MAX_FORM_BYTES)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in _FORM_TYPES:
        return dict(await Request(request.scope, _replay(body)).form())
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError):
        raise RequestValidationError([{"loc": ("body",), "msg": "The body is not JSON.", "type": "json"}]) from None


def _replay(body: bytes) -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
