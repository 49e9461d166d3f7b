"""Lists on the wire: what every list route takes and answers.

A list of things that one leafs through has ``skip`` and ``limit`` and says its total (``Paged``, ``Listed``); a log
that grows at its head while one reads it goes by cursor (``LeafedBack``, ``Leaf``). What is no plain number in its
range is refused with 422.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, Self, TypeVar

from fastapi import Depends, Query

from gateway.wire import MAX_BIGINT, Wire
from polaris_common.db.pages import Page, Paging

MAX_LIMIT = 100
DEFAULT_LIMIT, DEFAULT_LOG_LIMIT = 25, 50

T = TypeVar("T")
R = TypeVar("R")


class Listed(Wire, Generic[T]):
    """One page of a list; make one class per list, so that the documents name it."""

    items: list[T]
    total: int
    skip: int
    limit: int

    @classmethod
    def of(cls, page: Page[R], read: Callable[[R], T]) -> Self:
        """``page`` with each row as ``read`` shows it."""
        return cls(
            items=[read(row) for row in page.items],
            total=page.total,
            skip=page.paging.skip,
            limit=page.paging.limit,
        )


def paged(default: int = DEFAULT_LIMIT) -> Callable[..., Paging]:
    """A dependency that reads ``skip`` and ``limit``."""

    def paging(
        skip: Annotated[int, Query(ge=0, le=MAX_BIGINT)] = 0, limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = default
    ) -> Paging:
        return Paging(skip, limit)

    return paging


Paged = Annotated[Paging, Depends(paged())]


@dataclass(frozen=True)
class LeafingBack:
    """Which part of a log: at most ``limit`` rows with ids below ``before``, the newest first."""

    before: int | None
    limit: int

    @property
    def to_read(self) -> int:
        """How many rows to read: one more than is shown tells whether there are older ones."""
        return self.limit + 1


class Leaf(Wire, Generic[T]):
    """Part of a log, newest first; ``next_cursor`` leads to what is older, null at the end."""

    items: list[T]
    next_cursor: str | None

    @classmethod
    def of(cls, rows: Sequence[R], wanted: LeafingBack, read: Callable[[R], T], id_of: Callable[[R], int]) -> Self:
        """The first ``wanted.limit`` of ``rows``, of which ``wanted.to_read`` were asked for."""
        shown = rows[: wanted.limit]
        older = len(rows) > wanted.limit
        return cls(items=[read(row) for row in shown], next_cursor=str(id_of(shown[-1])) if older else None)


def _leafing_back(
    cursor: Annotated[int | None, Query(ge=1, le=MAX_BIGINT)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LOG_LIMIT,
) -> LeafingBack:
    return LeafingBack(cursor, limit)


LeafedBack = Annotated[LeafingBack, Depends(_leafing_back)]
"""Read from ``cursor`` and ``limit``."""


def is_list(model: object) -> bool:
    """Whether ``model`` is an answer of one of the two shapes."""
    return isinstance(model, type) and issubclass(model, Listed | Leaf)
