"""The least that a server of streams can be: no sign-in, no log, no ids; a queue and a task for each client.

``GET`` opens a stream of the group that the cookie names; ``POST /<group>`` sends the body to it, ``POST /all`` to all.
"""

import asyncio
import sys
from collections import defaultdict
from contextlib import suppress

import uvicorn
from starlette.types import Receive, Scope, Send

_groups: dict[str, set["asyncio.Queue[bytes]"]] = defaultdict(set)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one request."""
    if scope["type"] != "http":
        return
    if scope["method"] == "POST":
        frame = b"data: " + (await receive())["body"] + b"\n\n"
        name = scope["path"].strip("/")
        for queue in [each for group, queues in _groups.items() if name in (group, "all") for each in queues]:
            queue.put_nowait(frame)
        await _head(send)
        await send({"type": "http.response.body", "body": b""})
    elif scope["path"] == "/readyz":
        await _head(send)
        await send({"type": "http.response.body", "body": b""})
    else:
        cookie = dict(scope["headers"])[b"cookie"].decode()
        await _stream(_groups[cookie.partition("=")[2]], receive, send)


async def _stream(group: set["asyncio.Queue[bytes]"], receive: Receive, send: Send) -> None:
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    group.add(queue)
    leaving = asyncio.create_task(_left(receive))
    await _head(send)
    await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
    with suppress(OSError):
        while not leaving.done():
            await send({"type": "http.response.body", "body": await queue.get(), "more_body": True})


async def _head(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none", access_log=False,
        log_level="error", lifespan="off", backlog=2048,
    )  # fmt: skip
