"""Events on the wire."""

from typing import Any, Self

from gateway.wire import Wire, WireTime


class EventRead(Wire):
    """One event; ``seq`` is its number, and the id that it has on streams."""

    seq: int
    type: str
    created_at: WireTime
    payload: dict[str, Any]

    @classmethod
    def of(cls, row: Any) -> Self:
        """A row of the log."""
        return cls(seq=row.seq, type=row.type, created_at=row.created_at, payload=row.payload)


class EventsRead(Wire):
    """Some of the log, oldest first; ask again with ``after`` for what follows, at once while there is ``more``."""

    events: list[EventRead]
    after: int
    more: bool
