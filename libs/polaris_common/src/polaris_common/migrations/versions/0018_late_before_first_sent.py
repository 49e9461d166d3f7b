"""An event that Lago never got before its period closed may be stamped anew, and says so.

Revision ID: 0018
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE lago_events ADD COLUMN overdue_since TIMESTAMPTZ",
    "ALTER TABLE lago_events ADD COLUMN restamped_at TIMESTAMPTZ",
    "CREATE INDEX lago_events_overdue_idx ON lago_events (overdue_since) WHERE overdue_since IS NOT NULL",
    "DROP TRIGGER lago_events_text_fixed ON lago_events",
    # The text changes only while Lago is not known to have it, with a new stamp, and never the id or the slice.
    """
    CREATE TRIGGER lago_events_text_fixed BEFORE UPDATE OF slice_id, transaction_id, body ON lago_events
    FOR EACH ROW WHEN (
        OLD.status <> 'pending' OR OLD.overdue_since IS NULL OR NEW.overdue_since IS NOT NULL
        OR NEW.restamped_at IS NOT DISTINCT FROM OLD.restamped_at
        OR NEW.slice_id <> OLD.slice_id OR NEW.transaction_id <> OLD.transaction_id
    ) EXECUTE FUNCTION refuse_ledger_change()
    """,
)


def upgrade() -> None:
    """Add two columns; no event changes."""
    for statement in STATEMENTS:
        op.execute(statement)
