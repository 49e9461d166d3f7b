"""A reverse proxy for one machine: answers flow through as they come, and end when their reader leaves."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress

import httpx
from starlette.types import Receive, Scope, Send

from polaris_sim.front.routing import Backend

MAX_BODY = 10 * 1024 * 1024
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_SET_BY_US = frozenset({b"content-length", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})

Headers = list[tuple[bytes, bytes]]


class BodyTooLarge(Exception):
    """The request's body exceeds ``MAX_BODY``."""


class ClientGone(Exception):
    """The client left before its request was complete."""


class Proxy:
    """Passes requests on to the backends; ``Host`` stays as the client sent it."""

    def __init__(self, backends: Mapping[Backend, str], *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._urls = {backend: httpx.URL(url) for backend, url in backends.items()}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=50, keepalive_expiry=2)
        self._transport = transport or httpx.AsyncHTTPTransport(limits=limits, retries=1)
        self._timeout = httpx.Timeout(60, connect=5, read=None).as_dict()

    async def aclose(self) -> None:
        """Close the connections to the backends."""
        await self._transport.aclose()

    async def pass_on(self, backend: Backend, scope: Scope, receive: Receive, send: Send) -> None:
        """Let ``backend`` answer one request."""
        try:
            request = self._request(backend, scope, await read_body(receive))
        except ClientGone:
            return
        except BodyTooLarge:
            await answer_error(send, 413, "body_too_large", "The request is too large.")
            return
        watcher = asyncio.create_task(_until_gone(receive))
        relay = asyncio.create_task(self._relay(request, backend, send))
        try:
            await asyncio.wait({watcher, relay}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (watcher, relay):
                if not task.done():
                    task.cancel()
            await asyncio.gather(watcher, relay, return_exceptions=True)
        if not relay.cancelled():
            relay.result()

    def _request(self, backend: Backend, scope: Scope, body: bytes) -> httpx.Request:
        target = scope.get("raw_path") or scope["path"].encode()
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        headers = forwarded(scope)
        if body or scope["method"] in ("POST", "PUT", "PATCH"):
            headers.append((b"content-length", str(len(body)).encode()))
        return httpx.Request(
            scope["method"],
            self._urls[backend].copy_with(raw_path=target),
            headers=headers,
            stream=httpx.ByteStream(body),
            extensions={"timeout": self._timeout},
        )

    async def _relay(self, request: httpx.Request, backend: Backend, send: Send) -> None:
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.HTTPError:
            await answer_error(send, 502, "bad_gateway", f"The {backend} does not answer right now.")
            return
        try:
            headers = end_to_end(response.headers.raw)
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            try:
                async for chunk in response.aiter_raw():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except httpx.HTTPError:
                return  # an answer without its end: the server drops the connection, as the backend did
            await send({"type": "http.response.body", "body": b""})
        finally:
            with suppress(httpx.HTTPError):
                await response.aclose()


async def read_body(receive: Receive) -> bytes:
    """The whole request body.

    Raises:
        BodyTooLarge: more than ``MAX_BODY``.
        ClientGone: the client left.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MAX_BODY:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return b"".join(chunks)


def forwarded(scope: Scope) -> Headers:
    """The request's headers for the backend: without hop-by-hop ones, with where the request came from."""
    incoming: Headers = list(scope["headers"])
    kept = [(name, value) for name, value in end_to_end(incoming) if name not in _SET_BY_US]
    client = scope["client"][0] if scope.get("client") else "unknown"
    return [
        *kept,
        (b"x-forwarded-for", client.encode()),
        (b"x-forwarded-proto", scope.get("scheme", "http").encode()),
        *((b"x-forwarded-host", value) for name, value in incoming if name == b"host"),
    ]


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Headers without those that belong to one connection."""
    listed = [(name.lower(), value) for name, value in headers]
    named = {part.strip().lower() for name, value in listed if name == b"connection" for part in value.split(b",")}
    return [(name, value) for name, value in listed if name not in _HOP_BY_HOP and name not in named]


async def answer_error(send: Send, status: int, code: str, message: str) -> None:
    """An error in the platform's own shape."""
    body = json.dumps({"error": code, "message": message, "requestId": ""}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
