"""One statement that many ask at the same time, on few connections of its own.

Whoever asks while every connection is busy waits with the others, and all of them go together in the next round trip:
nobody costs more than one, and the busier it gets, the more share it. Each statement stands for itself, outside of any
transaction, so nothing is sent before or after it.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import asyncpg

from polaris_common.db.engine import Database

MOST_AT_ONCE = 200
PATIENCE_SECONDS = 1.0
"""A connection that has not answered for so long is given up."""

_MAY_HAVE_CLOSED = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InternalClientError,
)

Row = Sequence[Any]


class GatheredQuery:
    """A read by keys whose statement takes one array a parameter and answers one row an element, in order."""

    def __init__(self, database: Database, statement: str, *, connections: int = 2, timeout_seconds: float) -> None:
        """``timeout_seconds``: the server gives up a statement after so long."""
        self._database, self._statement = database, statement
        self._server_settings = {
            "statement_timeout": str(round(timeout_seconds * 1000)),
            # The plan is the same for all values; planning anew costs more than the query.
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
            "jit": "off",
        }
        self._waiting: deque[tuple[Row, asyncio.Future[Any]]] = deque()
        self._idle = [_Connection() for _ in range(connections)]
        self._busy: set[asyncio.Task[None]] = set()
        self._due = False

    def start(self) -> None:
        """Connect already, in the background; a database that is away is tried again at the first question."""
        while self._idle:
            self._begin(self._warm(self._idle.pop()))

    async def ask(self, *values: object) -> Any:
        """The row for one element of each array.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: the database did not answer.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((values, answer))
        if not self._due and self._idle:
            self._due = True
            loop.call_soon(self._send)
        return await answer

    async def close(self) -> None:
        """Close the connections; whoever waits is told that there is no answer."""
        busy = list(self._busy)
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        while self._waiting:
            self._waiting.popleft()[1].cancel()
        for connection in self._idle:
            await connection.close()

    def _send(self) -> None:
        """Everything that arrived in the same turn of the loop goes together."""
        self._due = False
        while self._waiting and self._idle:
            asked = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
            if asked := [each for each in asked if not each[1].done()]:
                self._begin(self._answer(self._idle.pop(), asked))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _warm(self, connection: "_Connection") -> None:
        try:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._prepared(connection)
        finally:
            self._idle.append(connection)
            self._send()

    async def _answer(self, connection: "_Connection", asked: Sequence[tuple[Row, "asyncio.Future[Any]"]]) -> None:
        try:
            rows = await self._fetch(connection, list(map(list, zip(*(values for values, _ in asked), strict=True))))
        except BaseException as error:
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(error) if isinstance(error, Exception) else answer.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for (_, answer), row in zip(asked, rows, strict=True):
                if not answer.done():
                    answer.set_result(row)
        finally:
            self._idle.append(connection)
            self._send()

    async def _fetch(self, connection: "_Connection", columns: list[list[Any]]) -> Sequence[Any]:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                was_open = connection.is_open
                try:
                    return await self._fetch_once(connection, columns)
                except _MAY_HAVE_CLOSED as error:
                    if isinstance(error, asyncpg.InternalClientError):
                        connection.drop()  # the server's last word came when none was expected
                    # The server was restarted since the last question, perhaps: a read may be asked again.
                    if not was_open or connection.is_open:
                        raise
                return await self._fetch_once(connection, columns)
        except BaseException as error:
            # Whatever a refused statement leaves behind, the connection is good; after anything else it may not be.
            if not isinstance(error, asyncpg.PostgresError) or not connection.is_open:
                connection.drop()
            raise

    async def _fetch_once(self, connection: "_Connection", columns: list[list[Any]]) -> Sequence[Any]:
        rows: Sequence[Any] = await (await self._prepared(connection)).fetch(*columns)
        return rows

    async def _prepared(self, connection: "_Connection") -> "asyncpg.prepared_stmt.PreparedStatement[Any]":
        if connection.raw is None or connection.statement is None or not connection.is_open:
            connection.drop()
            connection.raw = await self._database.connect_raw(self._server_settings)
            connection.statement = await connection.raw.prepare(self._statement)
        return connection.statement


class _Connection:
    """A connection with its statement, or none yet."""

    def __init__(self) -> None:
        self.raw: asyncpg.Connection[Any] | None = None
        self.statement: asyncpg.prepared_stmt.PreparedStatement[Any] | None = None

    @property
    def is_open(self) -> bool:
        return self.raw is not None and not self.raw.is_closed()

    def drop(self) -> None:
        raw, self.raw, self.statement = self.raw, None, None
        if raw is not None:
            raw.terminate()

    async def close(self) -> None:
        if self.raw is not None:
            await self.raw.close(timeout=1)
