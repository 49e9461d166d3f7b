"""What a stream delivers and how its frames look. Every stream has a kind of its own, which may hold what it needs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import uniform
from typing import ClassVar

from notifier.stream.frames import PROLOGUE, Frame, LoggedEvent, bye, position, resync, retry
from polaris_common.db import UnitOfWork

REPLACED_RETRY_SECONDS = (30.0, 60.0)


class StreamClass(StrEnum):
    """Streams that share one limit, so that none of the others can use it up."""

    DRIVERS = "drivers"
    OPERATORS = "operators"
    DEVICES = "devices"
    DEVICE_LOGS = "device logs"


@dataclass(frozen=True)
class Place:
    """Somewhere that may hold only so many streams of a kind."""

    name: str
    limit: int


class StreamKind:
    """Events of ``types`` for browsers, framed as contract-customer §7.1 says."""

    per_principal: ClassVar[int | None] = None
    """Streams of one principal; None: as configured."""
    place: Place | None = None

    def __init__(
        self, stream_class: StreamClass, types: Iterable[str], *, only: Mapping[str, str] | None = None
    ) -> None:
        """``only``: events whose payload has these values."""
        self.stream_class, self.types = stream_class, frozenset(types)
        self._only = only

    def frame(self, event: LoggedEvent) -> Frame | None:
        """What the client gets of ``event``, which is of one of ``types``; None when it is not for this stream."""
        if self._only is not None and any(event.payload.get(name) != value for name, value in self._only.items()):
            return None
        return event.frame

    async def replay(self, uow: UnitOfWork, events: Sequence[LoggedEvent]) -> list[Frame]:
        """What the client gets of events that it has missed."""
        del uow
        return [frame for event in events if (frame := self.frame(event)) is not None]

    def opening(self, at: int, *, behind: bool) -> bytes:
        """The first bytes; ``at``: where in the log the client stands; ``behind``: it is about to catch up."""
        return PROLOGUE + (b"" if behind else position(at))

    def moved(self, seq: int) -> bytes:
        """Tells the client where it stands although there was nothing for it."""
        return position(seq)

    def heartbeat(self, shared: Frame) -> Frame:
        """A sign of life; ``shared`` is the one that browsers get."""
        return shared

    def resync(self, reason: str, seq: int) -> bytes:
        """Events up to ``seq`` are gone that the client has not seen."""
        return resync(reason) + position(seq)

    def unauthorised(self, seq: int) -> bytes:
        """The last bytes to a client that may not see this any more."""
        del seq
        return bye("signed_out")

    def replaced(self, seq: int) -> bytes:
        """The last bytes to a client whose principal has opened too many others."""
        del seq
        return retry(uniform(*REPLACED_RETRY_SECONDS)) + bye("replaced")
