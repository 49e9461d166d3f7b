"""One business transaction."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy import Executable, text
from sqlalchemy.engine import CursorResult, Result
from sqlalchemy.ext.asyncio import AsyncSession

from polaris_common.events.catalogue import DomainEvent
from polaris_common.events.outbox import append_events

Effect = Callable[[], Awaitable[None]]


class UnitOfWork:
    """Read, decide, write, append domain events, commit: all or nothing.

    Nothing but the boundary that opened it (a request or a job) commits.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self._events: list[DomainEvent] = []
        self._hints: list[Effect] = []

    def emit(self, event: DomainEvent) -> None:
        """Append ``event`` to the outbox; it exists exactly if the transaction commits."""
        self._events.append(event)

    def after_commit(self, hint: Effect) -> None:
        """Run ``hint`` once the transaction is durable: a job to enqueue, for example.

        A hint may be lost in a crash; whatever depends on it must also be found by a sweep.
        """
        self._hints.append(hint)

    async def execute(self, statement: Executable, values: Any = None) -> Result[Any]:
        """Run one statement in this transaction."""
        return await self.session.execute(statement, values)

    async def write(self, statement: Executable, values: Any = None) -> int:
        """Run one writing statement and say how many rows it touched."""
        result = await self.session.execute(statement, values)
        return result.rowcount if isinstance(result, CursorResult) else 0

    async def copy(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """COPY rows into ``table`` in this transaction: PostgreSQL's fastest way in, past no constraint or trigger.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError: PostgreSQL refuses a row or is gone.
        """
        connection = await self.session.connection()
        raw = (await connection.get_raw_connection()).driver_connection
        if raw is None:
            raise RuntimeError("there is no connection to the database")
        if not raw.is_in_transaction():
            await self.session.execute(text("SELECT 1"))  # SQLAlchemy begins with the first statement
        try:
            await raw.copy_records_to_table(table, columns=columns, records=rows)
        except Exception:
            if raw.is_closed():
                await connection.invalidate()  # SQLAlchemy has not seen it go
            raise

    async def commit(self) -> None:
        """Make everything durable, then run the hints."""
        await self.session.flush()
        await append_events(self.session, self._events)
        self._events.clear()
        await self.session.commit()
        hints, self._hints = self._hints, []
        for hint in hints:
            await hint()
