"""Locks that live exactly as long as the connection that holds them."""

from contextlib import suppress
from enum import IntEnum
from types import TracebackType
from typing import Any

import asyncpg

from polaris_common.db.engine import Database

GOODBYE_SECONDS = 5.0
"""On a dead network a polite goodbye would wait for ever."""


class LockName(IntEnum):
    """Everything that only one process may do at a time; the numbers are PostgreSQL advisory lock keys."""

    EVENT_RELAY = 7_001
    SYNC = 7_002
    LAGO_MIRROR = 7_003
    TRANSACTIONS = 7_021
    OPERATIONS = 7_022
    READINGS = 7_023
    LAGO_SWEEPS = 7_011
    LAGO_CARDS = 7_012
    HOUSEKEEPING = 7_041
    LAGO_RECONCILIATION = 7_013
    LEDGER_RECOVERY = 7_014
    SUPERADMINS = 7_061


class AdvisoryLock:
    """A session-level advisory lock on a connection of its own: a killed process frees it at once.

    ``async with AdvisoryLock(database, LockName.SYNC) as lock: if lock.held: …``
    """

    def __init__(self, database: Database, name: LockName) -> None:
        self._database, self._name = database, name
        self.held = False
        self._connection: asyncpg.Connection[Any] | None = None

    async def __aenter__(self) -> "AdvisoryLock":
        connection = await self._database.connect_raw()
        try:
            self.held = bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", int(self._name)))
        except BaseException:
            connection.terminate()  # or it would keep a lock that nobody knows of
            raise
        self._connection = connection
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held = False
        if self._connection is not None:
            # A goodbye that fails ends the connection all the same, and must not hide what the work has raised.
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._connection.close(timeout=GOODBYE_SECONDS)

    @property
    def connection(self) -> "asyncpg.Connection[Any]":
        """The connection that holds the lock, for work that must stop when the lock is lost."""
        if self._connection is None:
            raise RuntimeError("the lock is not entered")
        return self._connection
