"""Which database the ledger was last kept in, and events that only Lago remembers after an older copy was restored.

Revision ID: 0017
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE ledger_home (
        id BOOLEAN DEFAULT true NOT NULL,
        identity TEXT NOT NULL,
        confirmed_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT ledger_home_only_one_check CHECK (id)
    )
    """,
    """
    CREATE TABLE recovered_events (
        transaction_id TEXT NOT NULL,
        steve_transaction_id BIGINT NOT NULL,
        earlier_charges INTEGER NOT NULL,
        charge_box_id TEXT NOT NULL,
        connector_id INTEGER NOT NULL,
        slice_index INTEGER NOT NULL,
        layer INTEGER NOT NULL,
        from_wh BIGINT NOT NULL,
        to_wh BIGINT NOT NULL,
        started_at TIMESTAMPTZ NOT NULL,
        ended_at TIMESTAMPTZ NOT NULL,
        final BOOLEAN NOT NULL,
        late BOOLEAN NOT NULL,
        subscription_external_id TEXT NOT NULL,
        body TEXT NOT NULL,
        session_id BIGINT,
        found_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (transaction_id),
        FOREIGN KEY(session_id) REFERENCES charging_sessions (id) ON DELETE RESTRICT
    )
    """,
    """
    CREATE INDEX recovered_events_waiting_idx ON recovered_events (steve_transaction_id) WHERE session_id IS NULL
    """,
    # The cluster, the database in it, and the cluster's timeline: one of them changes with every restore and failover.
    """
    CREATE FUNCTION database_identity() RETURNS text LANGUAGE sql STABLE AS $$
        SELECT concat_ws('/', system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()),
            left(pg_walfile_name(pg_current_wal_lsn()), 8))
        FROM pg_control_system()
    $$
    """,
)


def upgrade() -> None:
    """Add two tables and a function; the first start afterwards asks Lago what it has."""
    for statement in STATEMENTS:
        op.execute(statement)
