"""The platform under every request: idempotency keys and feature flags.

Revision ID: 0008
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE idempotency_keys (
        principal TEXT NOT NULL,
        route TEXT NOT NULL,
        key_hash BYTEA NOT NULL,
        body_hash BYTEA NOT NULL,
        attempt INTEGER DEFAULT 1 NOT NULL,
        lease_until TIMESTAMPTZ NOT NULL,
        carried_out BOOLEAN DEFAULT false NOT NULL,
        status INTEGER,
        answer BYTEA,
        media_type TEXT,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (principal, route, key_hash)
    )
    """,
    "CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at)",
    """
    CREATE TABLE global_feature_flag_values (
        flag_key TEXT NOT NULL,
        value_json JSONB NOT NULL,
        updated_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        updated_by TEXT NOT NULL,
        PRIMARY KEY (flag_key)
    )
    """,
    """
    CREATE TABLE user_feature_flag_values (
        user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        flag_key TEXT NOT NULL,
        value_json JSONB NOT NULL,
        updated_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        updated_by TEXT NOT NULL,
        PRIMARY KEY (user_id, flag_key)
    )
    """,
    """
    CREATE TABLE device_feature_flag_overrides (
        device_id UUID NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
        flag_key TEXT NOT NULL,
        value_json JSONB NOT NULL,
        updated_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        updated_by TEXT NOT NULL,
        PRIMARY KEY (device_id, flag_key)
    )
    """,
)


def upgrade() -> None:
    """Add four tables."""
    for statement in STATEMENTS:
        op.execute(statement)
