"""In-app notifications, who has read them, who wants them, and how far the event log has been turned into them.

Revision ID: 0011
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE notifications (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        dedupe_key TEXT NOT NULL,
        kind TEXT NOT NULL,
        topic TEXT NOT NULL,
        severity TEXT NOT NULL,
        user_id UUID REFERENCES users (id) ON DELETE CASCADE,
        title TEXT NOT NULL,
        body TEXT NOT NULL,
        source_type TEXT,
        source_id TEXT,
        source_url TEXT,
        context JSONB,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (dedupe_key),
        CONSTRAINT notifications_severity_check CHECK (severity IN ('info', 'success', 'warn', 'error'))
    )
    """,
    "CREATE INDEX notifications_operators_idx ON notifications (id DESC) WHERE user_id IS NULL",
    "CREATE INDEX notifications_user_idx ON notifications (user_id, id DESC) WHERE user_id IS NOT NULL",
    "CREATE INDEX notifications_kind_idx ON notifications (kind, created_at)",
    "CREATE INDEX notifications_created_idx ON notifications (created_at)",
    """
    CREATE TABLE notification_receipts (
        user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        notification_id BIGINT NOT NULL REFERENCES notifications (id) ON DELETE CASCADE,
        read_at TIMESTAMPTZ,
        dismissed_at TIMESTAMPTZ,
        PRIMARY KEY (user_id, notification_id)
    )
    """,
    "CREATE INDEX ix_notification_receipts_notification_id ON notification_receipts (notification_id)",
    """
    CREATE TABLE notification_preferences (
        user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        topic TEXT NOT NULL,
        channel TEXT NOT NULL,
        enabled BOOLEAN NOT NULL,
        updated_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (user_id, topic, channel),
        CONSTRAINT notification_preferences_channel_check CHECK (channel IN ('in_app', 'email'))
    )
    """,
    """
    CREATE TABLE event_cursors (
        name TEXT NOT NULL,
        seq BIGINT NOT NULL,
        PRIMARY KEY (name)
    )
    """,
    # What happened before there were notifications is no news.
    """
    INSERT INTO event_cursors (name, seq)
    SELECT 'notifications', coalesce((SELECT last_seq FROM event_relay WHERE id = 1), 0)
    """,
    "ALTER TABLE component_health ADD COLUMN failing_since TIMESTAMPTZ",
    "ALTER TABLE component_health ADD COLUMN told_at TIMESTAMPTZ",
)


def upgrade() -> None:
    """Add four tables, and what says that operators know of a component's trouble."""
    for statement in STATEMENTS:
        op.execute(statement)
