"""Which change of a card operators were told SteVe has not taken.

Revision ID: 0012
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column; nobody has been told of anything."""
    op.execute("ALTER TABLE tag_mappings ADD COLUMN told_revision BIGINT DEFAULT 0 NOT NULL")
