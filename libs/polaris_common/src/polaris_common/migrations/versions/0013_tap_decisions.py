"""What SteVe is told about tags, and quick answers to who is charging where.

Revision ID: 0013
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE tap_decisions (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        decided_at TIMESTAMPTZ NOT NULL,
        charge_box_id TEXT NOT NULL,
        connector_id INTEGER,
        is_start BOOLEAN NOT NULL,
        id_tag_hash BYTEA NOT NULL,
        tag_mapping_id BIGINT,
        blocked BOOLEAN NOT NULL,
        reason TEXT NOT NULL,
        latency_us INTEGER NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX tap_decisions_decided_idx ON tap_decisions (decided_at)",
    "CREATE INDEX tap_decisions_box_idx ON tap_decisions (charge_box_id, id)",
    "CREATE INDEX tap_decisions_tag_idx ON tap_decisions (id_tag_hash, id)",
    "CREATE INDEX charging_sessions_open_idx ON charging_sessions (charge_box_id) WHERE state = 'open'",
)


def upgrade() -> None:
    """Add a table, and an index of open sessions."""
    for statement in STATEMENTS:
        op.execute(statement)
