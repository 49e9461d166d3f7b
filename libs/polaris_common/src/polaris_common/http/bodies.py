"""Reading a request's body as the exact bytes that arrived, within a limit."""

import json
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polaris_common.http.errors import ApiError, BodyTooLarge, error_response

_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM = b"application/x-www-form-urlencoded"
_NUL = "\x00"


class UnusableText(ApiError):
    """Text that PostgreSQL cannot hold: a NUL, or half a character."""

    status, code, message = 400, "unusable_text", "The request holds characters that cannot be stored."


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


class BodyMiddleware:
    """Reads each body before the application does, refuses what is too large or not text, and hands it on whole.

    What reaches a handler can be stored: neither path, query nor JSON body holds a NUL or half a surrogate pair.
    """

    def __init__(self, app: ASGIApp, *, limit: int, but_not: Callable[[str], bool]) -> None:
        """``but_not``: paths whose handlers read their body themselves."""
        self._app, self._limit, self._but_not = app, limit, but_not

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or self._but_not(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            _check_address(scope)
            if scope["method"] not in _WITHOUT_BODY:
                body = await read_body(Request(scope, receive), limit=self._limit)
                _check_text(body, scope["headers"])
                receive = _whole(body, receive)
        except ApiError as refusal:
            answer = error_response(refusal.status, refusal.code, str(refusal))
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _check_address(scope: Scope) -> None:
    if _NUL in scope["path"] or b"%00" in scope["query_string"] or b"\x00" in scope["query_string"]:
        raise UnusableText


def _check_text(body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    form = any(name == b"content-type" and value.lower().startswith(_FORM) for name, value in headers)
    if b"\x00" in body or (form and b"%00" in body):
        raise UnusableText
    if b"\\u" not in body:
        return
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        raise UnusableText from None
    except (ValueError, RecursionError):
        return  # no JSON: the handler says so
    if "\\u0000" in text.replace("\\\\", ""):
        raise UnusableText


def _whole(body: bytes, rest: Receive) -> Receive:
    """A ``receive`` that gives ``body`` at once, and then what comes after it."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            return await rest()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
