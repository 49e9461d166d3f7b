"""The base of every repository."""

from typing import Generic, TypeVar

from sqlalchemy import Select, func, select

from polaris_common.db.unit_of_work import UnitOfWork
from polaris_common.models.base import Base

M = TypeVar("M", bound=Base)


class Page(Generic[M]):
    """One page of a list: ``items`` of ``total``, after ``skip``, at most ``limit``."""

    def __init__(self, items: list[M], total: int, skip: int, limit: int) -> None:
        self.items, self.total, self.skip, self.limit = items, total, skip, limit


class Repository(Generic[M]):
    """Every query on one model, within one unit of work."""

    model: type[M]

    def __init__(self, uow: UnitOfWork) -> None:
        self.uow = uow

    async def one_or_none(self, query: Select[M]) -> M | None:
        """The only row of ``query``, or None."""
        return (await self.uow.session.execute(query)).scalar_one_or_none()

    async def all(self, query: Select[M]) -> list[M]:
        """Every row of ``query``."""
        return list((await self.uow.session.execute(query)).scalars())

    async def page(self, query: Select[M], *, skip: int, limit: int) -> Page[M]:
        """One page of an ordered ``query``, with the total beside it."""
        total = await self.uow.session.scalar(select(func.count()).select_from(query.order_by(None).subquery()))
        return Page(await self.all(query.offset(skip).limit(limit)), total or 0, skip, limit)
