"""SQL for tests that look at, or arrange, what the database holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from polaris_common.db import Database


@dataclass
class WithDatabase:
    """The base of every test's surroundings: a database, and plain statements on it."""

    database: Database

    async def execute(self, statement: str, **values: Any) -> None:
        """One statement in a transaction of its own."""
        async with self.database.unit_of_work() as uow:
            await uow.execute(text(statement), values)

    async def rows(self, query: str, **values: Any) -> Sequence[Any]:
        """The rows of a query."""
        async with self.database.unit_of_work() as uow:
            return (await uow.execute(text(query), values)).all()

    async def row(self, query: str, **values: Any) -> Any:
        """The only row of a query."""
        (row,) = await self.rows(query, **values)
        return row
