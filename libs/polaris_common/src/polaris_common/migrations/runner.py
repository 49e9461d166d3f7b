"""Bringing a database up to date."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.engine import Connection

from polaris_common.db import Database
from polaris_common.db.partitions import ensure_partitions

MIGRATION_LOCK = 7_000


async def upgrade(database: Database, revision: str = "head") -> None:
    """Upgrade to ``revision`` and make the partitions of the next weeks; safe to run twice and side by side.

    Raises:
        OSError, SQLAlchemyError: the database cannot be reached or refuses.
    """
    async with database.engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        await connection.run_sync(_upgrade, revision)
    async with database.unit_of_work() as uow:
        await ensure_partitions(uow)


def _upgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
