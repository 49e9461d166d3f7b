"""The HTTP server: uvicorn, which tells open streams when it is about to stop."""

import socket
from types import FrameType

import uvicorn

from notifier.app import create_app
from notifier.process import Notifier
from notifier.stream.outlet import StreamProtocol

GRACE_SECONDS = 5
"""For streams to end; a client that reads nothing is cut off after it."""

UNREAD_MS = 300_000
"""A client that acknowledges nothing for five minutes is gone."""


class StreamServer(uvicorn.Server):
    """Serves one notifier until SIGTERM or SIGINT, or until one of its tasks fails."""

    def __init__(self, notifier: Notifier) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(notifier),
                http=StreamProtocol,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # the application believes TRUSTED_PROXIES
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._notifier = notifier
        self.failed = False
        notifier.on_failure = self._fail

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop serving; the process then ends by itself."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams first: uvicorn waits for them."""
        self._notifier.stop_streams()
        await super().shutdown(sockets)

    def _fail(self) -> None:
        self.failed = self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket whose connections notice dead clients.

    Raises:
        OSError: the port is taken or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
    return listener
