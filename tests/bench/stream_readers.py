"""Thousands of clients of one stream in one process. ``python -m tests.bench.stream_readers PORT COUNT``.

Reads tokens, one a line, from stdin; opens COUNT streams, taking the tokens in turns; writes ``ready``. Each ``report``
on stdin writes, as one JSON object, how late what has arrived since the last one was.
"""

import asyncio
import json
import re
import sys
import time
from typing import cast

import uvloop

from polaris_cli.stack.platform import CUSTOMER_HOST

AT_ONCE = 100
_SENT_AT = re.compile(rb'"sentAt:(\d+)"')


class Reader(asyncio.Protocol):
    """One stream; notes how late each event is."""

    def __init__(self, request: bytes, late_ns: list[int], opened: "asyncio.Future[None]") -> None:
        self._request, self._late_ns, self._opened = request, late_ns, opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        cast(asyncio.WriteTransport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """An answer's head, or events."""
        now = time.time_ns()
        if not self._opened.done():
            if not data.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"no stream: {data[:200]!r}")
            self._opened.set_result(None)
        self._late_ns.extend(now - int(match) for match in _SENT_AT.findall(data))

    def connection_lost(self, error: Exception | None) -> None:
        """The measurement is worth nothing then.

        Raises:
            SystemExit: always.
        """
        raise SystemExit(f"a stream ended: {error}")


async def main() -> None:
    """Open, say so, report when told to."""
    port, count = int(sys.argv[1]), int(sys.argv[2])
    tokens = sys.stdin.readline().split()
    late_ns: list[int] = []
    turns = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(_open(port, tokens[number % len(tokens)], late_ns, turns) for number in range(count)))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        late = sorted(late_ns)
        late_ns.clear()
        sys.stdout.write(json.dumps({"received": len(late), **_percentiles(late)}) + "\n")
        sys.stdout.flush()


async def _open(port: int, token: str, late_ns: list[int], turns: asyncio.Semaphore) -> None:
    loop = asyncio.get_running_loop()
    opened = loop.create_future()
    request = f"GET /api/stream/customer HTTP/1.1\r\nHost: {CUSTOMER_HOST}\r\nCookie: polaris.session={token}\r\n\r\n"
    async with turns:
        await loop.create_connection(lambda: Reader(request.encode(), late_ns, opened), "127.0.0.1", port)
        await opened


def _percentiles(late: list[int]) -> dict[str, float]:
    if not late:
        return {}
    return {name: late[int((len(late) - 1) * share)] / 1e9 for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))}


if __name__ == "__main__":
    uvloop.run(main())
