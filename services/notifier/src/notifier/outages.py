"""What it looks like when the database or Redis is away."""

import asyncpg
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

DATABASE_OUTAGE = (OSError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""The database gave no answer: wait and ask again."""

REDIS_OUTAGE = (OSError, RedisError)
"""Redis gave no answer: wait and ask again; the log is followed without it."""
