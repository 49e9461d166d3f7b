"""A keep-alive HTTP/1.1 client that can only POST small JSON bodies, at a fraction of httpx's CPU cost per call.

The replay sends a thousand hooks a second while it shares the machine with the services that receive them.
"""

import asyncio
from typing import cast
from urllib.parse import urlsplit

_IDLE_SECONDS = 4.0


class LeanHttpError(ConnectionError):
    """The connection was lost, or the answer is not one that this client understands."""


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self) -> None:
        self.last_used = 0.0
        self._buffer = bytearray()
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.WriteTransport | None = None

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(LeanHttpError("the connection was lost"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._waiter is None or self._waiter.done():
            return
        head = bytes(self._buffer[:end]).lower()
        status = int(head[9:12]) if head[9:12].isdigit() else 0
        at = head.find(b"\r\ncontent-length:")
        if status == 0 or (at < 0 and status != 204):
            self._fail(LeanHttpError("an answer without a length"))
            self.close()
            return
        length = 0 if at < 0 else int(head[at + 17 :].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + length:
            return
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        self._buffer.clear()
        self._waiter.set_result((status, body))
        if b"\r\nconnection: close" in head:
            self.close()

    def exchange(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        """Send one request; the future gives status and body."""
        if self._transport is None:
            raise LeanHttpError("the connection was lost")
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiter

    def close(self) -> None:
        """Close without waiting."""
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: LeanHttpError) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)


class LeanPoster:
    """POSTs signed JSON bodies to one URL over a pool of kept connections. Never retries."""

    def __init__(self, url: str, *, host: str | None = None) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        self._address = (parts.hostname or "localhost", parts.port or (443 if self._tls else 80))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._head = (
            f"POST {target} HTTP/1.1\r\nHost: {host or parts.netloc}\r\nContent-Type: application/json\r\n"
        ).encode()
        self._idle: list[_Connection] = []
        self._closed = False

    async def post(self, body: bytes, signature: str) -> tuple[int, bytes]:
        """POST ``body`` with ``X-Signature`` and return status and body.

        Raises:
            OSError: no connection, or it was lost.
        """
        request = b"%bX-Signature: %b\r\nContent-Length: %d\r\n\r\n%b" % (
            self._head,
            signature.encode(),
            len(body),
            body,
        )
        connection = await self._connect()
        try:
            answer = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        if self._closed:
            connection.close()
        else:
            connection.last_used = asyncio.get_running_loop().time()
            self._idle.append(connection)
        return answer

    def close(self) -> None:
        """Close the kept connections now, and those in use once they have their answer."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and loop.time() - connection.last_used < _IDLE_SECONDS:
                return connection
            connection.close()
        _, connection = await loop.create_connection(_Connection, *self._address, ssl=self._tls or None)
        return connection
