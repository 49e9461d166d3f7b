"""Processes that can be killed between any two things they do, and connections that break there.

What a process does to the outside is counted: every statement, every commit, every request. When its time has come it
gets no further: from then on everything it tries raises, so that no ``finally`` of it has any effect, and the
transaction that was open is rolled back, as the server does for a connection that is gone.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import asyncpg
import httpx
from sqlalchemy import event

from polaris_common.db import Database, UnitOfWork
from polaris_common.jobs import Jobs
from polaris_common.jobs.queue import JobName, Queue
from polaris_common.settings import DatabaseSettings, RedisSettings


class Killed(BaseException):
    """``kill -9``. No ``except Exception`` survives it."""


class Ending(StrEnum):
    """What happens when a process has done its last step."""

    KILLED = "killed"
    CONNECTION_LOST = "connection_lost"
    """The process lives on; it does not know whether what it did last went through."""


@dataclass
class Lifeline:
    """How many steps a process may still take; None: as many as it likes."""

    left: int | None = None
    ending: Ending = Ending.KILLED
    dead: bool = False
    reached: bool = False
    """The last step was taken."""
    taken: int = field(default=0)

    def step(self, lost: type[Exception] = ConnectionResetError) -> None:
        """One step to the outside; ``lost`` is what a broken connection raises.

        Raises:
            Killed: the process is dead.
        """
        if self.dead:
            raise Killed
        self.taken += 1
        if self.left is None:
            return
        if self.left > 0:
            self.left -= 1
            return
        self.left, self.reached = None, True
        if self.ending is Ending.KILLED:
            self.dead = True
            raise Killed
        raise lost("the connection broke")


class MortalDatabase(Database):
    """A pool of a mortal process."""

    def __init__(self, settings: DatabaseSettings, *, application_name: str) -> None:
        super().__init__(settings, application_name=application_name)
        self.lifeline = Lifeline()
        # A connection that dies here dies on purpose: asking each one first whether it lives only takes time.
        self.engine.sync_engine.pool._pre_ping = False
        event.listen(self.engine.sync_engine, "before_cursor_execute", lambda *_: self.lifeline.step())

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[UnitOfWork]:
        """One transaction, which may end right before its commit, or right after it without anybody hearing of it."""
        async with super().unit_of_work() as uow:
            copy = uow.copy

            async def copy_as_a_step(table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
                self.lifeline.step()
                await copy(table, columns, rows)

            uow.copy = copy_as_a_step  # type: ignore[method-assign]  # COPY goes past SQLAlchemy's events
            yield uow
            self.lifeline.step()
        self.lifeline.step()

    async def connect_raw(self, settings: Mapping[str, str] | None = None) -> "asyncpg.Connection[Any]":
        """A connection of its own."""
        self.lifeline.step()
        return await super().connect_raw(settings)


class MortalTransport(httpx.AsyncBaseTransport):
    """The way of a mortal process to another system: it may end before a request, or before its answer."""

    def __init__(self, lifeline: Lifeline, transport: httpx.AsyncBaseTransport) -> None:
        self._lifeline, self._transport = lifeline, transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a request on."""
        self._lifeline.step(httpx.ConnectError)
        response = await self._transport.handle_async_request(request)
        self._lifeline.step(httpx.ReadError)
        return response


class LostHints(Jobs):
    """Redis is empty: whatever depends on a job must be found by a sweep."""

    def __init__(self, lifeline: Lifeline) -> None:
        super().__init__(RedisSettings(redis_url="redis://nowhere.test"))
        self._lifeline = lifeline

    async def _coalesced(self, queue: Queue, job: JobName, *, after_seconds: float = 0.0) -> None:
        self._lifeline.step()
        await asyncio.sleep(0)
