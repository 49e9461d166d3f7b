"""Reading a request's body as the exact bytes that arrived, within a limit."""

from starlette.requests import Request

from polaris_common.http.errors import BodyTooLarge


async def read_body(request: Request, *, limit: int) -> bytes:
    """The raw body of at most ``limit`` bytes.

    Raises:
        BodyTooLarge: it is longer; nothing beyond the limit is kept.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise BodyTooLarge
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise BodyTooLarge
        parts.append(part)
    return b"".join(parts)
