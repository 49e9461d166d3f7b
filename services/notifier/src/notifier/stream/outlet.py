"""Writing to a client without waking its task: what makes one event for thousands of clients cheap.

ASGI's ``send`` can only be awaited, so each frame would cost each client a turn of its task. uvicorn's protocol hands
its connection over here instead; where it does not (another server), streams fall back on ``send``.
"""

from typing import cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

EXTENSION = "polaris.protocol"


class StreamProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, known to the request that it serves."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        cast(Scope, self.scope)["extensions"] = {EXTENSION: self}


class Outlet:
    """One open response with a chunked body."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    @classmethod
    def of(cls, scope: Scope) -> "Outlet | None":
        """The outlet of the answer to ``scope``, once its head is sent; None where there is none."""
        protocol = scope.get("extensions", {}).get(EXTENSION)
        cycle = protocol.cycle if isinstance(protocol, StreamProtocol) else None
        # After a pipelined request the protocol speaks of that one.
        return cls(cycle) if cycle is not None and cycle.scope is scope and cycle.chunked_encoding else None

    def write(self, chunk: bytes) -> bool:
        """Hand over one chunk; False, and nothing done, when the client has not taken what it has got."""
        cycle = self._cycle
        if cycle.flow.write_paused or cycle.disconnected or cycle.response_complete:
            return False
        cycle.transport.write(chunk)
        return True
