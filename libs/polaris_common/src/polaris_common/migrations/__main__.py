"""``python -m polaris_common.migrations``: upgrade to the newest schema, then leave with status 0."""

import asyncio
import sys

from sqlalchemy.exc import SQLAlchemyError

from polaris_common.db import Database
from polaris_common.migrations.runner import upgrade
from polaris_common.settings import DatabaseSettings, load_or_exit


async def _run() -> None:
    database = Database(load_or_exit(DatabaseSettings), application_name="polaris-migrate")
    try:
        await upgrade(database)
    finally:
        await database.close()


def main() -> int:
    """The exit status: 0, or 1 with one sentence when the database cannot be upgraded."""
    try:
        asyncio.run(_run())
    except (OSError, TimeoutError) as error:
        sys.stderr.write(f"The database of DATABASE_URL cannot be reached ({type(error).__name__}).\n")
        return 1
    except SQLAlchemyError as error:
        sys.stderr.write(f"The migration failed: {getattr(error, 'orig', None) or type(error).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
