"""Query strings as Spring binds them: trimmed, empty is null, every failure is the same 400."""

from collections.abc import Collection
from datetime import datetime

from starlette.datastructures import QueryParams

from polaris_sim.steve.dates import parse_query_date
from polaris_sim.steve.errors import ValidationFailed
from polaris_sim.steve.profile import Features


class Query:
    """Reads the parameters of one request; unknown ones are ignored."""

    def __init__(self, params: QueryParams, features: Features) -> None:
        self._params, self._features = params, features

    def text(self, name: str) -> str | None:
        """A text; a repeated key joins with commas, which then matches nothing."""
        return ",".join(value.strip() for value in self._params.getlist(name)) or None

    def texts(self, name: str) -> set[str] | None:
        """A list of texts by repeated keys or commas, folded for comparison; before 3.11 a single text."""
        text = self.text(name)
        if text is None:
            return None
        parts = text.split(",") if self._features.list_filters else [text]
        return {part.strip().casefold() for part in parts}

    def integer(self, name: str) -> int | None:
        """A whole number."""
        text = self.text(name)
        return None if text is None else _integer(text)

    def integers(self, name: str) -> set[int] | None:
        """A list of whole numbers by repeated keys or commas; before 3.11 a single one."""
        parts = self.texts(name)
        return None if parts is None else {_integer(part) for part in parts}

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        """One of an enum's names in their exact case."""
        text = self.text(name) or default
        if text not in choices:
            raise ValidationFailed
        return text

    def flag(self, name: str, *, default: bool) -> bool:
        """A boolean."""
        text = (self.text(name) or str(default)).lower()
        if text not in ("true", "false"):
            raise ValidationFailed
        return text == "true"

    def date(self, name: str, *, zone_required: bool = False) -> datetime | None:
        """A date, leniently."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return parse_query_date(text, local_only=self._features.local_dates_only, zone_required=zone_required)
        except ValueError:
            raise ValidationFailed from None


def path_id(text: str) -> int:
    """A primary key in a path; anything else is a 400."""
    return _integer(text)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValidationFailed from None
