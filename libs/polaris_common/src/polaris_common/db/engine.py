"""Connections to PostgreSQL."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from polaris_common.db.unit_of_work import UnitOfWork
from polaris_common.settings import DatabaseSettings

CONNECT_TIMEOUT_SECONDS = 5


def _require_alive(connection: Any, record: object, proxy: object) -> None:
    """Make the pool replace a connection that has died.

    One round trip each time a connection is taken; SQLAlchemy's own check makes three, for the sake of pgbouncer.
    """
    try:
        connection.run_async(_ping)
    except Exception as dead:
        raise DisconnectionError from dead


async def _ping(connection: "asyncpg.Connection[Any]") -> None:
    await connection.execute("SELECT 1")


class Database:
    """One process's pool of connections and the units of work made on it."""

    def __init__(self, settings: DatabaseSettings, *, application_name: str) -> None:
        self._url = settings.database_url
        self._application_name = application_name
        self.engine: AsyncEngine = create_async_engine(
            settings.database_url,
            pool_size=settings.database_pool_size,
            max_overflow=settings.database_pool_size,
            connect_args={
                "timeout": CONNECT_TIMEOUT_SECONDS,
                "server_settings": {"application_name": application_name, "timezone": "UTC"},
            },
        )
        event.listen(self.engine.sync_engine, "checkout", _require_alive)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False, autoflush=False)
        self._glances = async_sessionmaker(
            self.engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False, autoflush=False
        )

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[UnitOfWork]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        async with self._sessions() as session:
            uow = UnitOfWork(session)
            yield uow
            await uow.commit()

    @asynccontextmanager
    async def glance(self) -> AsyncIterator[UnitOfWork]:
        """Statements outside of any transaction, each for itself and durable at once: one costs one round trip."""
        async with self._glances() as session:
            yield UnitOfWork(session)

    async def connect_raw(self, settings: Mapping[str, str] | None = None) -> "asyncpg.Connection[Any]":
        """A connection of its own, outside the pool: for LISTEN, for advisory locks that must die with it, for one
        statement asked all the time. ``settings``: PostgreSQL's, for this connection."""
        return await asyncpg.connect(
            self._url.replace("postgresql+asyncpg://", "postgresql://", 1),
            timeout=CONNECT_TIMEOUT_SECONDS,
            server_settings={"application_name": self._application_name, "timezone": "UTC", **(settings or {})},
        )

    async def ping(self) -> None:
        """One round trip.

        Raises:
            OSError, SQLAlchemyError: the database cannot be reached.
        """
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()
