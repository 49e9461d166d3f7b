"""Push: what is to be sent to devices, durable, and the settings of devices.

Revision ID: 0010
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE device_settings (
        device_id UUID NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
        key TEXT NOT NULL,
        value_json JSONB NOT NULL,
        updated_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        updated_by TEXT NOT NULL,
        PRIMARY KEY (device_id, key)
    )
    """,
    """
    CREATE TABLE outgoing_pushes (
        id UUID DEFAULT gen_random_uuid() NOT NULL,
        device_id UUID NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        pairing_id BIGINT UNIQUE REFERENCES pairings (id) ON DELETE CASCADE,
        expires_at TIMESTAMPTZ NOT NULL,
        attempts INTEGER DEFAULT 0 NOT NULL,
        next_attempt_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        finished_at TIMESTAMPTZ,
        outcome TEXT,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT outgoing_pushes_kind_check CHECK (kind IN ('scan_request', 'locate')),
        CONSTRAINT outgoing_pushes_pairing_check CHECK ((kind = 'scan_request') = (pairing_id IS NOT NULL))
    )
    """,
    "CREATE INDEX outgoing_pushes_due_idx ON outgoing_pushes (next_attempt_at) WHERE finished_at IS NULL",
    "CREATE INDEX outgoing_pushes_created_idx ON outgoing_pushes (created_at)",
    "CREATE INDEX ix_outgoing_pushes_device_id ON outgoing_pushes (device_id)",
)


def upgrade() -> None:
    """Add two tables."""
    for statement in STATEMENTS:
        op.execute(statement)
