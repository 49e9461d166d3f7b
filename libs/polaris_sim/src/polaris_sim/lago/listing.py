"""Requests as the endpoints see them, and paged lists."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from starlette.datastructures import QueryParams

from polaris_sim.lago.errors import BadRequest, Invalid
from polaris_sim.lago.simulator import LagoSimulator
from polaris_sim.lago.wire import JsonObject, iso_time

DEFAULT_PAGE_SIZE = 100
_Item = TypeVar("_Item")


@dataclass
class Call:
    """One request: the simulator it goes to, its path parameters, query and decoded body."""

    simulator: LagoSimulator
    params: dict[str, str]
    query: QueryParams
    body: JsonObject
    path: str

    def root(self, key: str) -> JsonObject:
        """The object under the root key of the body.

        Raises:
            BadRequest: it is missing or empty.
        """
        value = self.body.get(key)
        if not isinstance(value, dict) or not value:
            raise BadRequest(f"param is missing or the value is empty: {key}")
        return value

    def one(self, name: str) -> str | None:
        """A query parameter, or None when it is absent or empty."""
        return self.query.get(name) or None

    def many(self, *names: str) -> list[str]:
        """All values of a repeated query parameter, given as ``name[]`` or ``name``."""
        return [value for name in names for key in (f"{name}[]", name) for value in self.query.getlist(key) if value]

    def choices(self, allowed: Sequence[str], *names: str) -> list[str]:
        """Like ``many``, for a closed set.

        Raises:
            Invalid: a value is not in it.
        """
        values = self.many(*names)
        if not set(values) <= set(allowed):
            raise Invalid({names[0]: ["value_is_invalid"]})
        return values

    def time(self, name: str) -> int | None:
        """An ISO-8601 query parameter.

        Raises:
            Invalid: it is not a date or time.
        """
        value = self.one(name)
        if value is None:
            return None
        time = iso_time(value)
        if time is None:
            raise Invalid({name: ["invalid_date"]})
        return time


def listed(call: Call, key: str, items: Sequence[_Item], view: Callable[[_Item], JsonObject]) -> JsonObject:
    """One page of ``items`` with Lago's ``meta``.

    In stale mode ``total_count`` is the one first seen for the list, as invoices and fees cache it for half an hour.
    """
    page, size = _positive(call.one("page"), 1), _positive(call.one("per_page"), DEFAULT_PAGE_SIZE)
    total = len(items)
    if call.simulator.config.stale_cache:
        others = sorted((name, value) for name, value in call.query.multi_items() if name not in ("page", "per_page"))
        total = call.simulator.organization.count_cache.setdefault(f"{call.path} {others}", total)
    pages = -(-total // size)
    return {
        key: [view(item) for item in items[(page - 1) * size : page * size]],
        "meta": {
            "current_page": page,
            "next_page": page + 1 if page < pages else None,
            "prev_page": page - 1 if page > 1 else None,
            "total_pages": pages,
            "total_count": total,
        },
    }


def _positive(value: str | None, default: int) -> int:
    return int(value) if value is not None and value.isdecimal() and int(value) > 0 else default
