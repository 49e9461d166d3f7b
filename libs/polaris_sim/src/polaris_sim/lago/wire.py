"""JSON and times as Lago reads and writes them.

Inside the simulator a time is an ``int``: microseconds since the Unix epoch, because Lago accepts event times
(13 digit epochs, fact 10 of the research) that no ``datetime`` can hold.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

JsonObject = dict[str, object]

SECOND = 1_000_000
DAY = 86_400 * SECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIX_SECONDS = re.compile(r"-?\d+(\.\d+)?")


def parse(raw: bytes) -> object:
    """Decode JSON with exact decimals."""
    return json.loads(raw, parse_float=Decimal)


def render(body: object) -> bytes:
    """Encode a response body; a decimal number that a client sent is echoed as a JSON number."""
    return json.dumps(body, separators=(",", ":"), default=_echo).encode()


def _echo(value: object) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"not JSON: {value!r}")


def new_id() -> str:
    """A fresh ``lago_id``."""
    return str(uuid4())


def micros(moment: datetime) -> int:
    """An aware datetime as microseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment_of(time: int) -> datetime:
    """Microseconds since the epoch as an aware UTC datetime.

    Raises:
        OverflowError: the time is beyond the year 9999.
    """
    return _EPOCH + timedelta(microseconds=time)


def iso(time: int) -> str:
    """ISO-8601 in UTC to the second."""
    return _seconds_text(time // SECOND) + "Z"


def iso_ms(time: int) -> str:
    """ISO-8601 in UTC with three decimals."""
    return f"{_seconds_text(time // SECOND)}.{time % SECOND // 1000:03d}Z"


def iso_or_none(time: int | None) -> str | None:
    """ISO-8601 to the second, or None."""
    return None if time is None else iso(time)


def _seconds_text(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]
    except (ValueError, OverflowError):
        years, rest = divmod(seconds, 31_556_952)  # a mean year: nobody reads the day of the year 55000
        return f"{1970 + years}-01-{1 + rest // 86_400 % 28:02d}T{rest // 3600 % 24:02d}:{rest // 60 % 60:02d}:00"


def unix_time(value: object) -> int | None:
    """Read an event's ``timestamp``: Unix seconds as int, decimal number or decimal string; None if it is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value * SECOND
    if isinstance(value, Decimal):
        return int(value * SECOND)
    if isinstance(value, str) and _UNIX_SECONDS.fullmatch(value):
        return int(Decimal(value) * SECOND)
    return None


def iso_time(value: object) -> int | None:
    """Read an ISO-8601 date or time (no zone: UTC); None if it is neither."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return micros(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def text(body: JsonObject, key: str) -> str | None:
    """A string field; numbers are taken as text, as Rails does."""
    value = body.get(key)
    if value is None or isinstance(value, (dict, list)) or value == "":
        return None
    return str(value)


def integer(body: JsonObject, key: str, default: int = 0) -> int:
    """An integer field, or ``default``."""
    value = body.get(key)
    return int(value) if isinstance(value, (int, str, Decimal)) and str(value).lstrip("-").isdigit() else default


def flag(body: JsonObject, key: str, default: bool = False) -> bool:
    """A boolean field, or ``default``."""
    value = body.get(key)
    return value if isinstance(value, bool) else default


def number(body: JsonObject, key: str, default: Decimal = Decimal(0)) -> Decimal:
    """A decimal field given as number or string, or ``default``."""
    value = body.get(key)
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and _UNIX_SECONDS.fullmatch(value):
        return Decimal(value)
    return default


def mapping(body: JsonObject, key: str) -> JsonObject:
    """An object field, or an empty object."""
    value = body.get(key)
    return value if isinstance(value, dict) else {}


def objects(body: JsonObject, key: str) -> list[JsonObject]:
    """The objects of an array field."""
    value = body.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def strings(body: JsonObject, key: str) -> list[str]:
    """The items of an array field, as strings."""
    value = body.get(key)
    return [str(item) for item in value] if isinstance(value, list) else []


def plain(value: Decimal) -> str:
    """A decimal in fixed-point notation without trailing zeros."""
    return format(value.normalize(), "f") if value else "0"


def units_text(value: Decimal) -> str:
    """Units as Lago prints them: fixed point with at least one decimal."""
    shown = plain(value)
    return shown if "." in shown else shown + ".0"
