"""The streaming answer: sends what its connection has until either side ends it."""

import asyncio
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from notifier.stream.catch_up import CatchUp
from notifier.stream.connection import Connection
from notifier.stream.hub import StreamHub
from notifier.stream.outlet import Outlet

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "Connection": "keep-alive",
    "X-Accel-Buffering": "no",
}


class EventStreamResponse(Response):
    """One open stream. Two tasks: the server's own for what cannot be written at once, one that notices when the client
    leaves.
    """

    def __init__(self, connection: Connection, hub: StreamHub, catch_up: CatchUp) -> None:
        self.status_code, self.background = 200, None
        self.init_headers(HEADERS)
        self._connection, self._hub, self._catch_up = connection, hub, catch_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve until the client leaves or the connection is closed."""
        leaving = asyncio.create_task(self._notice_leaving(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await _body(send, self._opening())
            self._connection.outlet = Outlet.of(scope)
            while not self._connection.closing:
                chunk = await self._next()
                if chunk:
                    await _body(send, chunk)
            await _body(send, self._connection.farewell, more=False)
        finally:
            self._hub.remove(self._connection)
            leaving.cancel()
            with suppress(asyncio.CancelledError):
                await leaving

    def _opening(self) -> bytes:
        connection = self._connection
        state = connection.take()
        return connection.kind.opening(connection.position, behind=connection.behind) + state

    async def _next(self) -> bytes:
        if self._connection.behind:
            return await self._catch_up.next(self._connection) + self._connection.take()
        await self._connection.wait()
        return self._connection.take()

    async def _notice_leaving(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._connection.close()


async def _body(send: Send, chunk: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": more})
