"""The ``from`` and ``to`` of a list: a day or a moment, in UTC unless an offset says otherwise."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator

_DAY_LENGTH = len("2026-01-31")
FIRST_YEAR, LAST_YEAR = 1970, 2199


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be an ISO 8601 date or time") from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"must lie between {FIRST_YEAR} and {LAST_YEAR}")
    return moment


def _checked(text: str) -> str:
    _moment(text)
    return text


DateText = Annotated[str, AfterValidator(_checked)]
"""A day or a moment as text; anything else is refused."""


def first_moment(text: str | None) -> datetime | None:
    """The moment from which ``text`` counts: a day from its first."""
    return None if text is None else _moment(text)


def moment_after(text: str | None) -> datetime | None:
    """The first moment that ``text`` no longer includes: a day is included whole, a moment itself too."""
    if text is None:
        return None
    return _moment(text) + (timedelta(days=1) if len(text) <= _DAY_LENGTH else timedelta(microseconds=1))
