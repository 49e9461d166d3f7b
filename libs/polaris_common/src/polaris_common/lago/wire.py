"""Reading Lago's objects tolerantly: whatever is missing or odd is None, and nothing here fails.

Lago's own description of its API and its servers differ (lago.md §1.9), so only ids are ever required, by the callers.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

_BIGINT = 2**63
_SCALARS = (str, int, Decimal)


def storable(value: Any) -> Any:
    """``value`` as PostgreSQL can keep it in JSON: exact decimals as text, no NUL, no half characters."""
    if isinstance(value, str):
        return _storable_text(value)
    if isinstance(value, dict):
        return {_storable_text(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    return format(value, "f") if isinstance(value, Decimal) else value


def text(raw: Mapping[str, Any], key: str) -> str | None:
    """A text; numbers count as text, an empty one as none."""
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, _SCALARS):
        return None
    return _storable_text(str(value)) or None


def moment(raw: Mapping[str, Any], key: str) -> datetime | None:
    """A time; without a zone it is UTC."""
    value = raw.get(key)
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def day(raw: Mapping[str, Any], key: str) -> date | None:
    """A calendar day."""
    value = raw.get(key)
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None


def whole(raw: Mapping[str, Any], key: str) -> int | None:
    """A whole number, such as an amount in minor units."""
    number = decimal(raw, key)
    if number is None or abs(number) >= _BIGINT or number != number.to_integral_value():
        return None
    return int(number)


def decimal(raw: Mapping[str, Any], key: str) -> Decimal | None:
    """An exact number, given as number or as text."""
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, _SCALARS):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def flag(raw: Mapping[str, Any], key: str) -> bool:
    """A truth value; anything else is False."""
    return raw.get(key) is True


def nested(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object inside the object; an empty one when there is none."""
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def objects(raw: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects of a list inside the object."""
    value = raw.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(raw: Mapping[str, Any], key: str) -> list[str]:
    """The texts of a list inside the object."""
    value = raw.get(key)
    return [_storable_text(item) for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _storable_text(value: str) -> str:
    if value.isascii() and "\x00" not in value:
        return value
    return value.replace("\x00", "").encode("utf-8", "replace").decode()
