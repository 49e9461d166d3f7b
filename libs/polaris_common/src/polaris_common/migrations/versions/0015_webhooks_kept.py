"""Webhooks that went through are found by when they did, to be forgotten in time.

Revision ID: 0015
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an index."""
    op.execute(
        "CREATE INDEX lago_webhook_events_processed_idx ON lago_webhook_events (processed_at)"
        " WHERE status = 'processed'"
    )
