"""Mail: what is to be sent, durable.

Revision ID: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE outgoing_mails (
        id UUID DEFAULT gen_random_uuid() NOT NULL,
        recipient TEXT NOT NULL,
        category TEXT NOT NULL,
        template TEXT NOT NULL,
        context JSONB DEFAULT '{}' NOT NULL,
        locale TEXT DEFAULT 'en' NOT NULL,
        attempts INTEGER DEFAULT 0 NOT NULL,
        next_attempt_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        sent_at TIMESTAMPTZ,
        dead_at TIMESTAMPTZ,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX outgoing_mails_due_idx ON outgoing_mails (next_attempt_at) WHERE sent_at IS NULL AND dead_at IS NULL",
    "CREATE INDEX outgoing_mails_created_idx ON outgoing_mails (created_at)",
)


def upgrade() -> None:
    """Add the table."""
    for statement in STATEMENTS:
        op.execute(statement)
