"""A client of our streams that does what a browser's EventSource does, and reports every frame."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

PATIENCE_SECONDS = 10.0
HOST = "polaris.localhost"
ADMIN_HOST = "manage.polaris.localhost"
CUSTOMER_STREAM = "/api/stream/customer"


@dataclass(frozen=True)
class Received:
    """One dispatched event."""

    event: str
    text: str
    id: int | None

    @property
    def data(self) -> Any:
        """The data as JSON."""
        return json.loads(self.text)


class StreamEnded(Exception):
    """The server ended the stream before what we waited for arrived."""


class Parser:
    """The event stream format (WHATWG HTML 9.2.6), as far as ids, events and data go."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Received]:
        """The events completed by ``chunk``; an unfinished one is kept, never dispatched."""
        *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
        events = [self._block(block.decode()) for block in blocks]
        return [event for event in events if event is not None]

    def forget_unfinished(self) -> None:
        """The connection is gone and with it the rest of the event that was arriving."""
        self._rest = b""

    def _block(self, block: str) -> Received | None:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if "retry" in fields:
            self.retry = int(fields["retry"])
        if "id" in fields:
            self.last_event_id = fields["id"]
        if "data" not in fields:
            return None
        return Received(fields["event"], fields["data"], int(fields["id"]) if "id" in fields else None)


class StreamClient:
    """One stream after another; the last event id is carried along, as a browser does.

    ``async with StreamClient(port, token) as stream: event = await stream.next()``
    """

    def __init__(
        self, port: int, token: str, *, path: str = CUSTOMER_STREAM, last_event_id: str = "", bearer: bool = False
    ) -> None:
        self.port, self._path = port, path
        self._headers = {"Host": ADMIN_HOST if path.startswith("/api/admin/") else HOST}
        self._headers |= {"Authorization": f"Bearer {token}"} if bearer else {"Cookie": f"polaris.session={token}"}
        self.parser = Parser()
        self.parser.last_event_id = last_event_id
        self.response: httpx.Response
        self._http = httpx.AsyncClient(timeout=PATIENCE_SECONDS)
        self._chunks: AsyncIterator[bytes]
        self._ready: list[Received] = []

    async def __aenter__(self) -> "StreamClient":
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    async def connect(self) -> httpx.Response:
        """Open the stream."""
        headers = dict(self._headers)
        if self.parser.last_event_id:
            headers["Last-Event-ID"] = self.parser.last_event_id
        request = self._http.build_request("GET", f"http://127.0.0.1:{self.port}{self._path}", headers=headers)
        self.response = await self._http.send(request, stream=True)
        self._chunks = self.response.aiter_raw()
        return self.response

    async def disconnect(self) -> None:
        """Drop the connection; whatever was not read is lost."""
        await self.response.aclose()
        self.parser.forget_unfinished()
        self._ready = []

    async def next(self, *, heartbeats: bool = False) -> Received:
        """The next event; heartbeats only on request.

        Raises:
            StreamEnded: the server ended the stream.
            TimeoutError: nothing came.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                while self._ready:
                    event = self._ready.pop(0)
                    if heartbeats or event.event != "heartbeat":
                        return event
                await self.read()

    async def position(self) -> str:
        """The last event id, as soon as the server has given one."""
        while not self.parser.last_event_id:
            await self.read()
        return self.parser.last_event_id

    async def until(self, wanted: Callable[[Received], bool]) -> list[Received]:
        """Every event up to and with the first that ``wanted`` accepts."""
        events = [await self.next()]
        while not wanted(events[-1]):
            events.append(await self.next())
        return events

    async def ended(self) -> list[Received]:
        """What still comes before the server ends the stream."""
        rest: list[Received] = []
        try:
            while True:
                rest.append(await self.next())
        except StreamEnded:
            return rest

    async def read(self) -> None:
        """Take in the next piece, whatever it holds.

        Raises:
            StreamEnded: there is none.
        """
        try:
            chunk = await anext(self._chunks)
        except (StopAsyncIteration, httpx.RemoteProtocolError, httpx.ReadError) as error:
            raise StreamEnded from error
        self._ready += self.parser.feed(chunk)
