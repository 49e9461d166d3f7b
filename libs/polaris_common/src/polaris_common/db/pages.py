"""One page of a list: always in the same order, with the total beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, func, inspect, select

from polaris_common.db.unit_of_work import UnitOfWork
from polaris_common.models.base import Base

M = TypeVar("M")
S = TypeVar("S", bound=Select[Any])


@dataclass(frozen=True)
class Paging:
    """Which page: after ``skip``, at most ``limit``."""

    skip: int
    limit: int


@dataclass(frozen=True)
class Page(Generic[M]):
    """One page of a list: ``items`` of ``total``."""

    items: Sequence[M]
    total: int
    paging: Paging


def on_page(query: S, model: type[Base], paging: Paging) -> S:
    """The rows of one page of ``query``: in its own order, and those that are equal there by ``model``'s key.

    Without that, a row may be on two pages and another on none.
    """
    return query.order_by(*inspect(model).primary_key).offset(paging.skip).limit(paging.limit)


async def total_of(uow: UnitOfWork, query: Select[Any]) -> int:
    """How many rows ``query`` has."""
    return await uow.session.scalar(select(func.count()).select_from(query.order_by(None).subquery())) or 0
