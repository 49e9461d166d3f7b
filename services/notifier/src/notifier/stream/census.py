"""How many streams there are, of which class, whose and from where; and how many there may be."""

from collections import Counter
from typing import TypeVar

from notifier.settings import NotifierSettings
from notifier.stream.connection import Connection
from notifier.stream.kinds import Place, StreamClass
from polaris_common.http.errors import ApiError

OF_MANY = (StreamClass.DRIVERS, StreamClass.DEVICES)
RESERVED_SHARE = 10
"""Up to one in so many streams is kept for operators, whatever the drivers do."""

K = TypeVar("K")


class StreamLimit(ApiError):
    """This process serves as many streams as it may; in the contract's words (contract-customer §7.1)."""

    status, code = 503, "SSE connection cap reached"
    message = "Too many live connections right now. Try again in half a minute."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "30"})


class LogStreamLimit(StreamLimit):
    """As many logs of devices are followed as may be (contract-devices §1.17)."""

    code = "capacity_exhausted"


class TooManyStreams(ApiError):
    """The address has as many streams as it may."""

    status, code, message = 429, "too_many_concurrent_streams", "Too many streams are open here. Close one."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "10"})


class Census:
    """Counts the hub's connections. No class of streams can use up what the others need."""

    def __init__(self, settings: NotifierSettings) -> None:
        self._in_all = settings.sse_max_streams
        self._per_user = settings.sse_max_streams_per_user
        self._limits = {
            StreamClass.DRIVERS: settings.sse_max_streams,
            StreamClass.OPERATORS: settings.sse_max_operator_streams,
            StreamClass.DEVICES: settings.sse_max_device_streams,
            StreamClass.DEVICE_LOGS: settings.sse_max_log_streams,
        }
        self._for_many = self._in_all - min(settings.sse_max_operator_streams, self._in_all // RESERVED_SHARE)
        self._classes: Counter[StreamClass] = Counter()
        self._by_principal: dict[tuple[StreamClass, str], dict[Connection, None]] = {}
        self._by_place: dict[Place, dict[Connection, None]] = {}

    def one_too_many(self, newcomer: Connection) -> Connection | None:
        """The connection that has to go so that ``newcomer`` may come; None when none has to.

        Raises:
            StreamLimit: the process or the class is full.
            TooManyStreams: the place is full.
        """
        oldest = self._oldest(newcomer)
        if oldest is None and self._is_full(newcomer.kind.stream_class):
            raise LogStreamLimit if newcomer.kind.stream_class is StreamClass.DEVICE_LOGS else StreamLimit
        place = newcomer.kind.place
        if place is not None and len(self._by_place.get(place, {}).keys() - {oldest}) >= place.limit:
            raise TooManyStreams
        return oldest

    def add(self, connection: Connection) -> None:
        """Count ``connection``."""
        self._classes[connection.kind.stream_class] += 1
        self._by_principal.setdefault(_key(connection), {})[connection] = None
        if connection.kind.place is not None:
            self._by_place.setdefault(connection.kind.place, {})[connection] = None

    def remove(self, connection: Connection) -> None:
        """Count it no more."""
        self._classes[connection.kind.stream_class] -= 1
        discard(self._by_principal, _key(connection), connection)
        if connection.kind.place is not None:
            discard(self._by_place, connection.kind.place, connection)

    def _oldest(self, newcomer: Connection) -> Connection | None:
        theirs = self._by_principal.get(_key(newcomer), {})
        limit = newcomer.kind.per_principal or self._per_user
        return next(iter(theirs)) if len(theirs) >= limit else None

    def _is_full(self, wanted: StreamClass) -> bool:
        if self._classes[wanted] >= self._limits[wanted] or self._classes.total() >= self._in_all:
            return True
        return wanted in OF_MANY and sum(self._classes[each] for each in OF_MANY) >= self._for_many


def discard(index: dict[K, dict[Connection, None]], key: K, connection: Connection) -> None:
    """Take ``connection`` out of an index; a key without connections goes too."""
    entries = index.get(key, {})
    entries.pop(connection, None)
    if not entries:
        index.pop(key, None)


def _key(connection: Connection) -> tuple[StreamClass, str]:
    return connection.kind.stream_class, connection.viewer.who
