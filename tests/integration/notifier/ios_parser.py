"""The app's reading of an event stream (contract-devices §2.6): what it dispatches and what it remembers."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx
from tests.integration.notifier.stream_client import ADMIN_HOST, PATIENCE_SECONDS

_LINE = re.compile(rb"(.*?)(\r\n|\r(?!$)|\n)", re.DOTALL)


@dataclass(frozen=True)
class AppEvent:
    """One event as the app dispatches it."""

    name: str
    data: Any
    id: str


class AppParser:
    """Lines end with LF, CR or CRLF; an id stays in force; a blank line dispatches when a name or data was seen."""

    def __init__(self) -> None:
        self.cursor = ""
        self.comments: list[bytes] = []
        self.raw = b""
        self._rest = b""
        self._name, self._id = "", ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[AppEvent]:
        """The events that ``chunk`` completes."""
        self.raw += chunk
        self._rest += chunk
        events: list[AppEvent] = []
        while (line := _LINE.match(self._rest)) is not None:
            self._rest = self._rest[line.end() :]
            events += self._line(line[1])
        return events

    def _line(self, line: bytes) -> list[AppEvent]:
        if not line:
            return self._dispatch()
        if line.startswith(b":"):
            self.comments.append(line)
            return []
        field, _, value = line.decode().partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id":
                self._id = value
        return []

    def _dispatch(self) -> list[AppEvent]:
        name, data = self._name, self._data
        self._name, self._data = "", []
        if not name and not data:
            return []
        if self._id:
            self.cursor = self._id
        return [AppEvent(name or "message", json.loads("\n".join(data)), self._id)]


class App:
    """The app's stream; its cursor survives reconnects.

    ``async with App(port, token) as app: event = await app.next()``
    """

    def __init__(self, port: int, token: str) -> None:
        self.port, self._token = port, token
        self.parser = AppParser()
        self.response: httpx.Response
        self._http = httpx.AsyncClient(timeout=PATIENCE_SECONDS)
        self._chunks: AsyncIterator[bytes]
        self._ready: list[AppEvent] = []

    async def __aenter__(self) -> "App":
        await self.connect()
        assert self.response.status_code == 200
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    async def connect(self) -> httpx.Response:
        """As contract-devices §2.6 says."""
        headers = {"Host": ADMIN_HOST, "Accept": "text/event-stream", "Authorization": f"Bearer {self._token}"}
        headers |= {"Cache-Control": "no-cache"}
        if self.parser.cursor:
            headers["Last-Event-ID"] = self.parser.cursor
        request = self._http.build_request(
            "GET", f"http://127.0.0.1:{self.port}/api/devices/scan-stream", headers=headers
        )
        self.response = await self._http.send(request, stream=True)
        self._chunks = self.response.aiter_raw()
        return self.response

    async def disconnect(self) -> None:
        """Drop the connection; the cursor stays."""
        await self.response.aclose()
        cursor, self.parser, self._ready = self.parser.cursor, AppParser(), []
        self.parser.cursor = cursor

    async def next(self) -> AppEvent:
        """The next event.

        Raises:
            StopAsyncIteration: the server has ended the stream.
        """
        while not self._ready:
            self._ready += self.parser.feed(await anext(self._chunks))
        return self._ready.pop(0)

    async def names_until_end(self) -> list[str]:
        """What still comes before the server ends the stream."""
        names: list[str] = []
        try:
            while True:
                names.append((await self.next()).name)
        except StopAsyncIteration:
            return names
