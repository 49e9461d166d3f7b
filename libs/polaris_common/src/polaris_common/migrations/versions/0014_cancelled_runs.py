"""Sync runs can be cancelled.

Revision ID: 0014
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE sync_runs ADD COLUMN cancel_requested_at TIMESTAMPTZ",
    "ALTER TABLE sync_runs DROP CONSTRAINT sync_runs_status_check",
    """
    ALTER TABLE sync_runs ADD CONSTRAINT sync_runs_status_check
    CHECK (status IN ('requested', 'running', 'completed', 'failed', 'cancelled'))
    """,
    "ALTER TABLE sync_run_segments DROP CONSTRAINT sync_run_segments_status_check",
    """
    ALTER TABLE sync_run_segments ADD CONSTRAINT sync_run_segments_status_check
    CHECK (status IN ('running', 'success', 'warning', 'error', 'skipped', 'cancelled'))
    """,
)


def upgrade() -> None:
    """Allow another outcome, and remember that it is wanted."""
    for statement in STATEMENTS:
        op.execute(statement)
