"""The base of every repository."""

from typing import Generic, TypeVar

from sqlalchemy import Select

from polaris_common.db.pages import Page, Paging, on_page, total_of
from polaris_common.db.unit_of_work import UnitOfWork
from polaris_common.models.base import Base

M = TypeVar("M", bound=Base)


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

    async def page(self, query: Select[M], paging: Paging) -> Page[M]:
        """One page of ``query``, in its order and then by key, with the total beside it."""
        total = await total_of(self.uow, query)
        return Page(await self.all(on_page(query, self.model, paging)), total, paging)
