"""How Alembic reaches the database; the address arrives as an attribute from ``runner``."""

from alembic import context
from sqlalchemy.engine import Connection

from polaris_common.models import Base


def migrate(connection: Connection) -> None:
    """Run the pending migrations in one transaction."""
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()


migrate(context.config.attributes["connection"])
