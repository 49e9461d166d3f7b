"""Telling "the database is away" from "the database refuses this"."""

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

DATABASE_TROUBLE = (
    OSError,
    TimeoutError,
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""Everything that talking to the database may raise; the last when the server cuts a connection in mid-answer."""

# SQLSTATE classes that blame the statement or its values; everything else blames the server or the way to it.
_BLAMES_THE_STATEMENT = frozenset({"22", "23", "40", "42", "44", "54", "P0"})


def is_outage(error: BaseException) -> bool:
    """Whether ``error`` says that the database cannot be reached or cannot work now; trying later helps."""
    if isinstance(error, OSError | PoolTimeout | asyncpg.InternalClientError):
        return True
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        return state[:2] not in _BLAMES_THE_STATEMENT if state else error.connection_invalidated
    if isinstance(error, asyncpg.PostgresError):  # from statements that go past SQLAlchemy
        return (error.sqlstate or "")[:2] not in _BLAMES_THE_STATEMENT
    return isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError)
