"""What we ask chargers to do: the operation log, stops that are wanted, reservations.

Revision ID: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OPERATIONS = (
    """
    CREATE TABLE charger_operation_log (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        charge_box_id TEXT NOT NULL,
        operation TEXT NOT NULL,
        params JSONB NOT NULL,
        source TEXT NOT NULL,
        reason TEXT,
        idempotency_key TEXT NOT NULL,
        requested_by UUID,
        status TEXT DEFAULT 'pending' NOT NULL,
        outcome TEXT,
        task_id BIGINT,
        result JSONB,
        not_after TIMESTAMPTZ NOT NULL,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        sent_at TIMESTAMPTZ,
        completed_at TIMESTAMPTZ,
        PRIMARY KEY (id),
        CONSTRAINT charger_operation_log_status_check
            CHECK (status IN ('pending', 'sending', 'submitted', 'completed', 'failed', 'timeout', 'dry_run')),
        CONSTRAINT charger_operation_log_outcome_check
            CHECK ((status IN ('completed', 'failed', 'timeout')) = (outcome IS NOT NULL)),
        CONSTRAINT charger_operation_log_source_check
            CHECK (source IN ('operator', 'driver', 'device', 'auto_stop', 'reservation')),
        UNIQUE (idempotency_key),
        FOREIGN KEY(requested_by) REFERENCES users (id) ON DELETE SET NULL
    )
    """,
    "CREATE INDEX charger_operation_log_box_idx ON charger_operation_log (charge_box_id, id DESC)",
    """
    CREATE INDEX charger_operation_log_open_idx ON charger_operation_log (charge_box_id, id)
        WHERE status IN ('pending', 'sending', 'submitted')
    """,
    """
    CREATE INDEX charger_operation_log_user_idx ON charger_operation_log (requested_by) WHERE requested_by IS NOT NULL
    """,
)

STOPS = (
    """
    CREATE TABLE session_stops (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        session_id BIGINT NOT NULL,
        reason TEXT NOT NULL,
        requested_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        attempts INTEGER DEFAULT 0 NOT NULL,
        operation_id BIGINT,
        asked_at TIMESTAMPTZ,
        notified_at TIMESTAMPTZ,
        closed_at TIMESTAMPTZ,
        PRIMARY KEY (id),
        CONSTRAINT session_stops_reason_check
            CHECK (reason IN ('subscription_terminated', 'wallet_depleted', 'usage_cap_exceeded',
                'card_reported_lost', 'manual')),
        CONSTRAINT session_stops_session_reason_key UNIQUE (session_id, reason),
        FOREIGN KEY(session_id) REFERENCES charging_sessions (id) ON DELETE CASCADE,
        FOREIGN KEY(operation_id) REFERENCES charger_operation_log (id) ON DELETE SET NULL
    )
    """,
    "CREATE INDEX session_stops_open_idx ON session_stops (id) WHERE closed_at IS NULL",
)

# Connector 0 is the whole charge box; SteVe compares charge box ids without case.
RESERVATIONS = (
    """
    CREATE TABLE reservations (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        charge_box_id TEXT NOT NULL,
        connector_id INTEGER NOT NULL,
        ocpp_tag_pk INTEGER NOT NULL,
        id_tag TEXT NOT NULL,
        user_id UUID,
        lago_subscription_external_id TEXT,
        start_at TIMESTAMPTZ NOT NULL,
        end_at TIMESTAMPTZ NOT NULL,
        status TEXT DEFAULT 'pending' NOT NULL,
        reason TEXT,
        hold TEXT DEFAULT 'none' NOT NULL,
        held_until TIMESTAMPTZ,
        steve_reservation_id BIGINT,
        operation_id BIGINT,
        attempts INTEGER DEFAULT 0 NOT NULL,
        next_attempt_at TIMESTAMPTZ,
        session_id BIGINT,
        created_by UUID,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        updated_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        cancelled_at TIMESTAMPTZ,
        PRIMARY KEY (id),
        CONSTRAINT reservations_window_check CHECK (end_at > start_at),
        CONSTRAINT reservations_connector_check CHECK (connector_id >= 0),
        CONSTRAINT reservations_status_check
            CHECK (status IN ('pending', 'confirmed', 'active', 'completed', 'cancelled', 'conflicted', 'orphaned')),
        CONSTRAINT reservations_hold_check
            CHECK (hold IN ('none', 'asking', 'held', 'refused', 'unsupported', 'unknown', 'releasing', 'released',
                'left')),
        CONSTRAINT reservations_no_overlap EXCLUDE USING gist (
            (lower(charge_box_id)) WITH =,
            (CASE WHEN connector_id = 0 THEN int4range(0, NULL)
                ELSE int4range(connector_id, connector_id + 1) END) WITH &&,
            (tstzrange(start_at, end_at)) WITH &&
        ) WHERE (status IN ('pending', 'confirmed', 'active')),
        FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL,
        FOREIGN KEY(operation_id) REFERENCES charger_operation_log (id) ON DELETE SET NULL,
        FOREIGN KEY(session_id) REFERENCES charging_sessions (id) ON DELETE SET NULL,
        FOREIGN KEY(created_by) REFERENCES users (id) ON DELETE SET NULL
    )
    """,
    """
    CREATE INDEX reservations_upkeep_idx ON reservations (start_at)
        WHERE status IN ('pending', 'confirmed', 'active') OR hold IN ('asking', 'held', 'unknown', 'releasing')
    """,
    "CREATE INDEX reservations_tag_idx ON reservations (ocpp_tag_pk, start_at DESC)",
    "CREATE INDEX reservations_user_idx ON reservations (user_id, start_at DESC)",
    "CREATE INDEX reservations_status_idx ON reservations (status, start_at DESC)",
)


def upgrade() -> None:
    """Add the three tables; nothing that exists changes."""
    for statement in (*OPERATIONS, *STOPS, *RESERVATIONS):
        op.execute(statement)
