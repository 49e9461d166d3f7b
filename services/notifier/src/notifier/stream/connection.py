"""One open stream: what its principal may see, what waits to be sent and how far it has come in the log."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from notifier.stream.frames import Frame, LoggedEvent
from notifier.stream.kinds import StreamKind
from notifier.stream.outlet import Outlet
from notifier.stream.rights import Right


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whose stream it is, the audiences they belong to, and what their right to it rests on."""

    who: str
    """``user:<id>`` or ``device:<id>``: whose streams are counted together."""
    audiences: frozenset[str]
    right: Right
    user_id: UUID | None = None
    """Whose sessions it shows; None when it is not about one person."""


class Connection:
    """One client.

    ``position`` is the number up to which everything visible was handed over. While the client keeps up, frames go
    straight to its socket, or wait in a bounded queue for its task. When the queue overflows it is dropped and the
    connection is ``behind``: it then reads the log from its own position until it is level with the hub again, so
    nothing is lost or sent twice.
    """

    __slots__ = (
        "_limit",
        "_pending",
        "_waiter",
        "beats",
        "behind",
        "closing",
        "farewell",
        "kind",
        "outlet",
        "position",
        "reason",
        "viewer",
    )

    def __init__(self, kind: StreamKind, viewer: Viewer, *, position: int, behind: bool, max_pending: int) -> None:
        self.kind, self.viewer = kind, viewer
        self.position, self.behind = position, behind
        self.reason = "too_old"
        """What to tell the client should the log no longer reach back to ``position``."""
        self.closing, self.farewell = False, b""
        self.outlet: Outlet | None = None
        self.beats = 0
        """Heartbeats so far."""
        self._limit = max_pending
        self._pending: dict[object, Frame] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def hear(self, event: LoggedEvent) -> None:
        """Hand an event over unless the client has it already or it is not for this stream."""
        if self.closing or self.behind or event.seq <= self.position or event.type not in self.kind.types:
            return
        frame = self.kind.frame(event)
        if frame is not None:
            self._put(frame)

    def show(self, kind: str, frame: Frame) -> None:
        """Hand over a measurement, unless this stream has none of the kind."""
        if not self.closing and kind in self.kind.types:
            self._put(frame)

    def greet(self, heartbeat: Frame, seq: int) -> None:
        """Hand over a heartbeat; a stream of any kind gets them. ``seq``: how far the hub has come."""
        if self.closing:
            return
        self.beats += 1
        if not self.behind and self._first_waiting() is None:
            self.position = max(self.position, seq)
        self._put(self.kind.heartbeat(heartbeat))

    def offer_first(self, frames: list[Frame]) -> None:
        """Queue the state at the start; what has arrived live since then is newer and stays."""
        pending = self._pending if self._pending is not None else {}
        self._pending = {frame.key: frame for frame in frames} | pending

    def fall_behind(self, reason: str = "slow_reader") -> None:
        """Forget what waits and read on in the log."""
        first = self._first_waiting()
        if first is not None:
            self.position = max(self.position, first - 1)
        self._pending = None
        self.behind, self.reason = True, reason
        self._wake()

    def close(self, farewell: bytes = b"") -> None:
        """End the stream after ``farewell``; what still waits is not sent."""
        if not self.closing:
            self.closing, self.farewell, self._pending = True, farewell, None
        self._wake()

    def take(self) -> bytes:
        """Everything that waits, in order, as one piece; the position moves along."""
        frames, self._pending = self._pending, None
        if not frames:
            return b""
        for frame in frames.values():
            if frame.seq is not None:
                self.position = frame.seq
        return b"".join([frame.encoded for frame in frames.values()])

    async def wait(self, seconds: float | None = None) -> None:
        """Until something waits to be sent, the stream falls behind or closes; at most ``seconds``."""
        if self._pending or self.closing or (self.behind and seconds is None):
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._waiter
        finally:
            self._waiter = None

    def _first_waiting(self) -> int | None:
        return next((frame.seq for frame in (self._pending or {}).values() if frame.seq is not None), None)

    def _put(self, frame: Frame) -> None:
        if frame.is_last:
            self.close(self.take() + frame.encoded)
        elif not self._write(frame):
            self._queue(frame)

    def _write(self, frame: Frame) -> bool:
        """Past the task, as long as it idles: then nothing waits and nothing is on its way that came before."""
        if self._pending or self.outlet is None or self._waiter is None or self._waiter.done():
            return False
        if not self.outlet.write(frame.chunk):
            return False
        if frame.seq is not None:
            self.position = frame.seq
        return True

    def _queue(self, frame: Frame) -> None:
        if self._pending is None:
            self._pending = {}
        self._pending.pop(frame.key, None)
        if len(self._pending) >= self._limit:
            self.fall_behind()
            return
        self._pending[frame.key] = frame
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
