"""The first schema: identity, charging, ledger, event log.

Revision ID: 0001
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE chargers (
        charge_box_id TEXT NOT NULL,
        charge_box_pk INTEGER,
        public_id TEXT NOT NULL,
        friendly_name TEXT,
        first_seen_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        last_seen_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (charge_box_id),
        UNIQUE (public_id)
    )
    """,
    """
    CREATE TABLE component_health (
        component TEXT NOT NULL,
        status TEXT NOT NULL,
        error TEXT,
        checked_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        last_success_at TIMESTAMPTZ,
        PRIMARY KEY (component),
        CONSTRAINT component_health_status_check CHECK (status IN ('ok', 'degraded', 'unhealthy'))
    )
    """,
    """
    CREATE TABLE domain_events (
        id UUID DEFAULT gen_random_uuid() NOT NULL,
        created_at TIMESTAMPTZ DEFAULT clock_timestamp() NOT NULL,
        seq BIGINT,
        type TEXT NOT NULL,
        audience TEXT[] NOT NULL,
        payload JSONB NOT NULL,
        PRIMARY KEY (id, created_at)
    ) PARTITION BY RANGE (created_at)
    """,
    "CREATE INDEX domain_events_seq_idx ON domain_events (seq)",
    "CREATE INDEX domain_events_unnumbered_idx ON domain_events (created_at) WHERE seq IS NULL",
    """
    CREATE TABLE event_relay (
        id INTEGER DEFAULT 1 NOT NULL,
        last_seq BIGINT DEFAULT 0 NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT event_relay_single_check CHECK (id = 1)
    )
    """,
    """
    CREATE TABLE lago_subscriptions (
        lago_id TEXT NOT NULL,
        external_id TEXT NOT NULL,
        external_customer_id TEXT NOT NULL,
        plan_code TEXT NOT NULL,
        status TEXT NOT NULL,
        started_at TIMESTAMPTZ,
        terminated_at TIMESTAMPTZ,
        mirrored_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (lago_id)
    )
    """,
    "CREATE INDEX ix_lago_subscriptions_external_customer_id ON lago_subscriptions (external_customer_id)",
    "CREATE INDEX ix_lago_subscriptions_external_id ON lago_subscriptions (external_id)",
    """
    CREATE TABLE live_meters (
        steve_transaction_id BIGINT NOT NULL,
        charge_box_id TEXT NOT NULL,
        connector_id INTEGER NOT NULL,
        sampled_at TIMESTAMPTZ NOT NULL,
        register_wh BIGINT,
        power_w INTEGER,
        received_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        revision BIGINT DEFAULT 1 NOT NULL,
        billed_revision BIGINT DEFAULT 0 NOT NULL,
        PRIMARY KEY (steve_transaction_id)
    )
    """,
    """
    CREATE INDEX live_meters_billing_due_idx ON live_meters (steve_transaction_id) WHERE billed_revision < revision
    """,
    """
    CREATE TABLE meter_readings (
        steve_transaction_id BIGINT NOT NULL,
        sampled_at TIMESTAMPTZ NOT NULL,
        measurand TEXT NOT NULL,
        phase TEXT DEFAULT '' NOT NULL,
        location TEXT DEFAULT '' NOT NULL,
        context TEXT DEFAULT '' NOT NULL,
        unit TEXT DEFAULT '' NOT NULL,
        value TEXT NOT NULL,
        register_wh BIGINT,
        received_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (steve_transaction_id, sampled_at, measurand, phase, location, context, unit)
    ) PARTITION BY RANGE (sampled_at)
    """,
    """
    CREATE TABLE ocpp_tags (
        ocpp_tag_pk INTEGER NOT NULL,
        id_tag TEXT NOT NULL,
        parent_id_tag TEXT,
        max_active_transaction_count INTEGER NOT NULL,
        expiry_date TIMESTAMPTZ,
        note TEXT,
        deleted_at TIMESTAMPTZ,
        PRIMARY KEY (ocpp_tag_pk)
    )
    """,
    "CREATE UNIQUE INDEX ocpp_tags_id_tag_lower_key ON ocpp_tags (lower(id_tag)) WHERE deleted_at IS NULL",
    """
    CREATE TABLE sync_runs (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        trigger TEXT NOT NULL,
        status TEXT DEFAULT 'requested' NOT NULL,
        requested_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        started_at TIMESTAMPTZ,
        completed_at TIMESTAMPTZ,
        transactions_seen INTEGER DEFAULT 0 NOT NULL,
        transactions_new INTEGER DEFAULT 0 NOT NULL,
        transactions_changed INTEGER DEFAULT 0 NOT NULL,
        error TEXT,
        PRIMARY KEY (id),
        CONSTRAINT sync_runs_status_check CHECK (status IN ('requested', 'running', 'completed', 'failed'))
    )
    """,
    "CREATE UNIQUE INDEX sync_runs_requested_key ON sync_runs (status) WHERE status = 'requested'",
    """
    CREATE TABLE users (
        id UUID DEFAULT gen_random_uuid() NOT NULL,
        public_id TEXT NOT NULL,
        name TEXT,
        email TEXT,
        role TEXT DEFAULT 'customer' NOT NULL,
        lago_customer_external_id TEXT,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        updated_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT users_role_check CHECK (role IN ('admin', 'customer')),
        CONSTRAINT users_public_id_check CHECK (public_id ~ '^[23456789ABCDEFGHJKMNPQRSTVWXYZ]{8}$'),
        UNIQUE (public_id),
        UNIQUE (lago_customer_external_id)
    )
    """,
    "CREATE UNIQUE INDEX users_email_lower_key ON users (lower(email))",
    """
    CREATE TABLE accounts (
        id UUID DEFAULT gen_random_uuid() NOT NULL,
        user_id UUID NOT NULL,
        provider_id TEXT NOT NULL,
        account_id TEXT NOT NULL,
        password_hash TEXT,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        updated_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT accounts_provider_account_key UNIQUE (provider_id, account_id),
        FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_accounts_user_id ON accounts (user_id)",
    """
    CREATE TABLE auth_sessions (
        id UUID DEFAULT gen_random_uuid() NOT NULL,
        user_id UUID NOT NULL,
        token_hash BYTEA NOT NULL,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        expires_at TIMESTAMPTZ NOT NULL,
        ip_address TEXT,
        user_agent TEXT,
        PRIMARY KEY (id),
        FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
        UNIQUE (token_hash)
    )
    """,
    "CREATE INDEX ix_auth_sessions_expires_at ON auth_sessions (expires_at)",
    "CREATE INDEX ix_auth_sessions_user_id ON auth_sessions (user_id)",
    """
    CREATE TABLE tag_mappings (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        ocpp_tag_pk INTEGER,
        id_tag TEXT NOT NULL,
        user_id UUID,
        lago_customer_external_id TEXT,
        lago_subscription_external_id TEXT,
        display_name TEXT,
        tag_type TEXT DEFAULT 'ev_card' NOT NULL,
        billing_tier TEXT DEFAULT 'standard' NOT NULL,
        is_active BOOLEAN DEFAULT true NOT NULL,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        updated_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT tag_mappings_tag_type_check CHECK (tag_type IN ('ev_card', 'keytag', 'app', 'meta')),
        CONSTRAINT tag_mappings_billing_tier_check CHECK (billing_tier IN ('standard', 'comped')),
        UNIQUE (ocpp_tag_pk),
        FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL
    )
    """,
    "CREATE INDEX ix_tag_mappings_lago_customer_external_id ON tag_mappings (lago_customer_external_id)",
    "CREATE INDEX ix_tag_mappings_user_id ON tag_mappings (user_id)",
    "CREATE UNIQUE INDEX tag_mappings_id_tag_lower_key ON tag_mappings (lower(id_tag))",
    """
    CREATE TABLE charging_sessions (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        steve_transaction_id BIGINT NOT NULL,
        charge_box_id TEXT NOT NULL,
        connector_id INTEGER NOT NULL,
        id_tag TEXT NOT NULL,
        started_at TIMESTAMPTZ NOT NULL,
        start_wh BIGINT,
        stopped_at TIMESTAMPTZ,
        stop_wh BIGINT,
        stop_reason TEXT,
        stop_actor TEXT,
        state TEXT DEFAULT 'open' NOT NULL,
        quarantine_reason TEXT,
        settle_after TIMESTAMPTZ,
        tag_mapping_id BIGINT,
        user_id UUID,
        revision BIGINT DEFAULT 1 NOT NULL,
        billed_revision BIGINT DEFAULT 0 NOT NULL,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        updated_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT charging_sessions_state_check
            CHECK (state IN ('open', 'stopped', 'settled', 'quarantined')),
        CONSTRAINT charging_sessions_quarantine_check
            CHECK ((state = 'quarantined') = (quarantine_reason IS NOT NULL)),
        CONSTRAINT charging_sessions_settled_check
            CHECK (state <> 'settled' OR (start_wh IS NOT NULL AND stop_wh >= start_wh AND stopped_at IS NOT NULL)),
        UNIQUE (steve_transaction_id),
        FOREIGN KEY(tag_mapping_id) REFERENCES tag_mappings (id) ON DELETE SET NULL,
        FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL
    )
    """,
    "CREATE INDEX charging_sessions_billing_due_idx ON charging_sessions (id) WHERE billed_revision < revision",
    "CREATE INDEX charging_sessions_ownerless_idx ON charging_sessions (id_tag) WHERE tag_mapping_id IS NULL",
    "CREATE INDEX charging_sessions_unsettled_idx ON charging_sessions (id) WHERE state IN ('open', 'stopped')",
    "CREATE INDEX charging_sessions_user_idx ON charging_sessions (user_id, started_at DESC, id DESC)",
    """
    CREATE TABLE energy_slices (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        session_id BIGINT NOT NULL,
        slice_index INTEGER NOT NULL,
        from_wh BIGINT NOT NULL,
        to_wh BIGINT NOT NULL,
        started_at TIMESTAMPTZ NOT NULL,
        ended_at TIMESTAMPTZ NOT NULL,
        final BOOLEAN NOT NULL,
        subscription_external_id TEXT NOT NULL,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT energy_slices_range_check CHECK (from_wh >= 0 AND to_wh > from_wh),
        CONSTRAINT energy_slices_index_key UNIQUE (session_id, slice_index),
        CONSTRAINT energy_slices_no_overlap EXCLUDE USING gist (session_id WITH =, int8range(from_wh, to_wh) WITH &&),
        FOREIGN KEY(session_id) REFERENCES charging_sessions (id) ON DELETE RESTRICT
    )
    """,
    """
    CREATE TABLE session_billing (
        session_id BIGINT NOT NULL,
        status TEXT NOT NULL,
        reason TEXT,
        tag_mapping_id BIGINT,
        subscription_external_id TEXT,
        billed_wh BIGINT DEFAULT 0 NOT NULL,
        slice_count INTEGER DEFAULT 0 NOT NULL,
        checked_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (session_id),
        CONSTRAINT session_billing_status_check CHECK (status IN ('billing', 'billed', 'held', 'not_billable')),
        CONSTRAINT session_billing_reason_check CHECK ((status IN ('held', 'not_billable')) = (reason IS NOT NULL)),
        FOREIGN KEY(session_id) REFERENCES charging_sessions (id) ON DELETE RESTRICT
    )
    """,
    "CREATE INDEX session_billing_held_idx ON session_billing (checked_at) WHERE status = 'held'",
    """
    CREATE TABLE lago_events (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        slice_id BIGINT NOT NULL,
        transaction_id TEXT NOT NULL,
        body TEXT NOT NULL,
        status TEXT DEFAULT 'pending' NOT NULL,
        attempts INTEGER DEFAULT 0 NOT NULL,
        next_attempt_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        delivered_at TIMESTAMPTZ,
        last_error TEXT,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT lago_events_status_check CHECK (status IN ('pending', 'delivered', 'quarantined')),
        UNIQUE (slice_id),
        FOREIGN KEY(slice_id) REFERENCES energy_slices (id) ON DELETE RESTRICT,
        UNIQUE (transaction_id)
    )
    """,
    "CREATE INDEX lago_events_pending_idx ON lago_events (next_attempt_at, id) WHERE status = 'pending'",
)

PARTITIONS = (
    "CREATE TABLE meter_readings_default PARTITION OF meter_readings DEFAULT",
    "CREATE TABLE domain_events_default PARTITION OF domain_events DEFAULT",
)

# The ledger only grows: a slice and its event text can never be changed or removed, by anyone.
LEDGER_IS_APPEND_ONLY = (
    """
    CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    """
    CREATE TRIGGER energy_slices_append_only BEFORE UPDATE OR DELETE ON energy_slices
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()
    """,
    """
    CREATE TRIGGER lago_events_kept BEFORE DELETE ON lago_events
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()
    """,
    """
    CREATE TRIGGER lago_events_text_fixed BEFORE UPDATE OF slice_id, transaction_id, body ON lago_events
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()
    """,
)

# A session is billed only when its slices add up to stop minus start. Checked at commit.
CONSERVATION = (
    """
    CREATE FUNCTION check_session_conservation() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        sliced bigint;
        metered bigint;
    BEGIN
        SELECT coalesce(sum(to_wh - from_wh), 0) INTO sliced FROM energy_slices WHERE session_id = NEW.session_id;
        IF sliced <> NEW.billed_wh THEN
            RAISE EXCEPTION 'session %: billed_wh is % but its slices add up to %',
                NEW.session_id, NEW.billed_wh, sliced
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        IF NEW.status = 'billed' THEN
            SELECT stop_wh - start_wh INTO metered FROM charging_sessions WHERE id = NEW.session_id;
            IF metered IS DISTINCT FROM sliced THEN
                RAISE EXCEPTION 'session %: slices add up to % but the meter says %', NEW.session_id, sliced, metered
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE CONSTRAINT TRIGGER session_billing_conserves_energy AFTER INSERT OR UPDATE ON session_billing
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_session_conservation()
    """,
)


def upgrade() -> None:
    """Create everything."""
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    for statement in (*TABLES, *PARTITIONS, *LEDGER_IS_APPEND_ONLY, *CONSERVATION):
        op.execute(statement)
    op.execute("INSERT INTO event_relay (id, last_seq) VALUES (1, 0)")
