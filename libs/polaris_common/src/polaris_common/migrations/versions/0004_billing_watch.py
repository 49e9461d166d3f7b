"""Watching what waits for Lago, differences by event, and what operators do about money.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE lago_events ADD COLUMN urgent BOOLEAN DEFAULT false NOT NULL",
    "DROP INDEX lago_events_pending_idx",
    """
    CREATE INDEX lago_events_pending_idx ON lago_events (urgent DESC, next_attempt_at, id) WHERE status = 'pending'
    """,
    "CREATE INDEX lago_events_quarantined_idx ON lago_events (id) WHERE status = 'quarantined'",
    "CREATE INDEX energy_slices_subscription_idx ON energy_slices (subscription_external_id, ended_at)",
    "ALTER TABLE reconciliation_findings ADD COLUMN transaction_ids TEXT[] DEFAULT '{}' NOT NULL",
    "ALTER TABLE reconciliation_findings ADD COLUMN event_count INTEGER",
    "ALTER TABLE reconciliation_findings DROP CONSTRAINT reconciliation_findings_kind_check",
    """
    ALTER TABLE reconciliation_findings ADD CONSTRAINT reconciliation_findings_kind_check
    CHECK (kind IN ('ledger_short', 'ledger_excess', 'undelivered', 'missing_in_lago', 'extra_in_lago',
        'value_differs', 'usage_differs', 'invoice_differs', 'dead_in_lago', 'quarantined'))
    """,
    """
    CREATE TABLE billing_alerts (
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        raised_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (kind, subject)
    )
    """,
    """
    CREATE TABLE billing_counters (
        name TEXT NOT NULL,
        value BIGINT NOT NULL,
        PRIMARY KEY (name)
    )
    """,
    """
    INSERT INTO billing_counters (name, value)
    SELECT 'events_delivered', count(*) FROM lago_events WHERE status = 'delivered'
    """,
    """
    CREATE TABLE operator_actions (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        action TEXT NOT NULL,
        subject TEXT NOT NULL,
        actor TEXT NOT NULL,
        reason TEXT NOT NULL,
        details JSONB DEFAULT '{}' NOT NULL,
        acted_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX operator_actions_subject_idx ON operator_actions (subject, id)",
)


def upgrade() -> None:
    """Add to what is there; nothing is lost."""
    for statement in STATEMENTS:
        op.execute(statement)
