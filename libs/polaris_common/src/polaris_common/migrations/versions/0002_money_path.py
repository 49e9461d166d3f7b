"""The whole money path: corrections in the ledger, Lago's mirror and inbox, cadence, segments, tag policy.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE charger_cadence (
        charge_box_id TEXT NOT NULL,
        tier TEXT DEFAULT 'idle' NOT NULL,
        quiet_ticks INTEGER DEFAULT 0 NOT NULL,
        last_activity_at TIMESTAMPTZ,
        evaluated_at TIMESTAMPTZ,
        PRIMARY KEY (charge_box_id),
        CONSTRAINT charger_cadence_tier_check CHECK (tier IN ('active', 'idle', 'dormant'))
    )
    """,
    """
    CREATE TABLE lago_billable_metrics (
        code TEXT NOT NULL,
        name TEXT,
        aggregation_type TEXT NOT NULL,
        field_name TEXT,
        recurring BOOLEAN NOT NULL,
        lago_id TEXT NOT NULL,
        payload JSONB NOT NULL,
        lago_updated_at TIMESTAMPTZ,
        mirrored_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        deleted_at TIMESTAMPTZ,
        PRIMARY KEY (lago_id)
    )
    """,
    "CREATE INDEX ix_lago_billable_metrics_code ON lago_billable_metrics (code)",
    """
    CREATE TABLE lago_customers (
        external_id TEXT NOT NULL,
        name TEXT,
        email TEXT,
        currency TEXT,
        timezone TEXT NOT NULL,
        lago_id TEXT NOT NULL,
        payload JSONB NOT NULL,
        lago_updated_at TIMESTAMPTZ,
        mirrored_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        deleted_at TIMESTAMPTZ,
        PRIMARY KEY (lago_id)
    )
    """,
    "CREATE INDEX ix_lago_customers_external_id ON lago_customers (external_id)",
    """
    CREATE TABLE lago_fees (
        invoice_lago_id TEXT NOT NULL,
        external_subscription_id TEXT,
        item_code TEXT,
        item_name TEXT,
        units NUMERIC,
        amount_cents BIGINT,
        currency TEXT,
        lago_id TEXT NOT NULL,
        payload JSONB NOT NULL,
        lago_updated_at TIMESTAMPTZ,
        mirrored_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        deleted_at TIMESTAMPTZ,
        PRIMARY KEY (lago_id)
    )
    """,
    "CREATE INDEX ix_lago_fees_external_subscription_id ON lago_fees (external_subscription_id)",
    "CREATE INDEX ix_lago_fees_invoice_lago_id ON lago_fees (invoice_lago_id)",
    """
    CREATE TABLE lago_invoices (
        number TEXT,
        external_customer_id TEXT,
        status TEXT NOT NULL,
        payment_status TEXT,
        invoice_type TEXT,
        total_amount_cents BIGINT,
        currency TEXT,
        issuing_date DATE,
        payment_overdue BOOLEAN NOT NULL,
        fees_mirrored_at TIMESTAMPTZ,
        lago_id TEXT NOT NULL,
        payload JSONB NOT NULL,
        lago_updated_at TIMESTAMPTZ,
        mirrored_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        deleted_at TIMESTAMPTZ,
        PRIMARY KEY (lago_id)
    )
    """,
    "CREATE INDEX ix_lago_invoices_external_customer_id ON lago_invoices (external_customer_id)",
    "CREATE INDEX ix_lago_invoices_issuing_date ON lago_invoices (issuing_date)",
    """
    CREATE TABLE lago_plans (
        code TEXT NOT NULL,
        name TEXT,
        interval TEXT,
        amount_cents BIGINT,
        currency TEXT,
        metric_codes TEXT[] NOT NULL,
        lago_id TEXT NOT NULL,
        payload JSONB NOT NULL,
        lago_updated_at TIMESTAMPTZ,
        mirrored_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        deleted_at TIMESTAMPTZ,
        PRIMARY KEY (lago_id)
    )
    """,
    "CREATE INDEX ix_lago_plans_code ON lago_plans (code)",
    """
    CREATE TABLE lago_wallets (
        external_customer_id TEXT,
        status TEXT,
        currency TEXT,
        balance_cents BIGINT,
        lago_id TEXT NOT NULL,
        payload JSONB NOT NULL,
        lago_updated_at TIMESTAMPTZ,
        mirrored_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        deleted_at TIMESTAMPTZ,
        PRIMARY KEY (lago_id)
    )
    """,
    "CREATE INDEX ix_lago_wallets_external_customer_id ON lago_wallets (external_customer_id)",
    """
    CREATE TABLE lago_webhook_events (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        unique_key TEXT NOT NULL,
        body_sha256 BYTEA NOT NULL,
        webhook_type TEXT NOT NULL,
        object_type TEXT,
        lago_object_id TEXT,
        external_customer_id TEXT,
        external_subscription_id TEXT,
        payload JSONB NOT NULL,
        status TEXT DEFAULT 'pending' NOT NULL,
        attempts INTEGER DEFAULT 0 NOT NULL,
        next_attempt_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        received_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        processed_at TIMESTAMPTZ,
        last_error TEXT,
        replayed_from_id BIGINT,
        PRIMARY KEY (id),
        CONSTRAINT lago_webhook_events_status_check CHECK (status IN ('pending', 'processed', 'dead')),
        UNIQUE (unique_key),
        FOREIGN KEY(replayed_from_id) REFERENCES lago_webhook_events (id) ON DELETE SET NULL
    )
    """,
    """
    CREATE INDEX lago_webhook_events_customer_idx ON lago_webhook_events (external_customer_id, received_at DESC)
    """,
    """
    CREATE INDEX lago_webhook_events_due_idx ON lago_webhook_events (next_attempt_at, id) WHERE status = 'pending'
    """,
    "CREATE INDEX lago_webhook_events_dead_idx ON lago_webhook_events (id) WHERE status = 'dead'",
    """
    CREATE INDEX lago_webhook_events_replayed_idx ON lago_webhook_events (replayed_from_id)
        WHERE replayed_from_id IS NOT NULL
    """,
    "CREATE INDEX lago_webhook_events_type_idx ON lago_webhook_events (webhook_type, received_at DESC)",
    """
    CREATE TABLE reconciliation_findings (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        subscription_external_id TEXT,
        session_id BIGINT,
        difference_wh BIGINT NOT NULL,
        found_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        seen_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        resolved_at TIMESTAMPTZ,
        PRIMARY KEY (id),
        CONSTRAINT reconciliation_findings_kind_check
            CHECK (kind IN ('ledger_short', 'ledger_excess', 'undelivered', 'missing_in_lago',
                'extra_in_lago', 'value_differs', 'dead_in_lago', 'quarantined'))
    )
    """,
    """
    CREATE INDEX ix_reconciliation_findings_subscription_external_id ON reconciliation_findings
        (subscription_external_id)
    """,
    """
    CREATE UNIQUE INDEX reconciliation_findings_open_key ON reconciliation_findings (kind, subject)
        WHERE resolved_at IS NULL
    """,
    """
    CREATE TABLE sync_schedule (
        id INTEGER DEFAULT 1 NOT NULL,
        tier TEXT DEFAULT 'idle' NOT NULL,
        pinned_tier TEXT,
        pinned_until TIMESTAMPTZ,
        next_run_at TIMESTAMPTZ,
        evaluated_at TIMESTAMPTZ,
        nightly_pass_on DATE,
        PRIMARY KEY (id),
        CONSTRAINT sync_schedule_single_check CHECK (id = 1),
        CONSTRAINT sync_schedule_tier_check CHECK (tier IN ('active', 'idle', 'dormant')),
        CONSTRAINT sync_schedule_pin_check
            CHECK ((pinned_tier IS NULL) = (pinned_until IS NULL) AND pinned_tier IN ('active', 'idle', 'dormant'))
    )
    """,
    """
    CREATE TABLE charger_connectors (
        charge_box_id TEXT NOT NULL,
        connector_id INTEGER NOT NULL,
        status TEXT,
        status_at TIMESTAMPTZ,
        first_seen_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (charge_box_id, connector_id),
        FOREIGN KEY(charge_box_id) REFERENCES chargers (charge_box_id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE sync_run_logs (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        sync_run_id BIGINT NOT NULL,
        segment TEXT NOT NULL,
        level TEXT NOT NULL,
        message TEXT NOT NULL,
        context JSONB,
        created_at TIMESTAMPTZ DEFAULT clock_timestamp() NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT sync_run_logs_level_check CHECK (level IN ('debug', 'info', 'warn', 'error')),
        FOREIGN KEY(sync_run_id) REFERENCES sync_runs (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX sync_run_logs_run_idx ON sync_run_logs (sync_run_id, id)",
    """
    CREATE TABLE sync_run_segments (
        sync_run_id BIGINT NOT NULL,
        segment TEXT NOT NULL,
        status TEXT DEFAULT 'running' NOT NULL,
        seen INTEGER DEFAULT 0 NOT NULL,
        "new" INTEGER DEFAULT 0 NOT NULL,
        changed INTEGER DEFAULT 0 NOT NULL,
        held INTEGER DEFAULT 0 NOT NULL,
        failed INTEGER DEFAULT 0 NOT NULL,
        started_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        completed_at TIMESTAMPTZ,
        PRIMARY KEY (sync_run_id, segment),
        CONSTRAINT sync_run_segments_status_check
            CHECK (status IN ('running', 'success', 'warning', 'error', 'skipped')),
        FOREIGN KEY(sync_run_id) REFERENCES sync_runs (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE tag_block_consents (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        sync_run_id BIGINT,
        id_tags TEXT[] NOT NULL,
        requested_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        decision TEXT,
        decided_at TIMESTAMPTZ,
        decided_by UUID,
        applied_at TIMESTAMPTZ,
        PRIMARY KEY (id),
        CONSTRAINT tag_block_consents_decision_check CHECK (decision IN ('approved', 'refused', 'superseded')),
        FOREIGN KEY(sync_run_id) REFERENCES sync_runs (id) ON DELETE SET NULL
    )
    """,
    """
    CREATE UNIQUE INDEX tag_block_consents_open_key ON tag_block_consents ((decision IS NULL)) WHERE decision IS NULL
    """,
    """
    CREATE TABLE tag_change_log (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        ocpp_tag_pk INTEGER,
        id_tag TEXT NOT NULL,
        change_type TEXT NOT NULL,
        before JSONB,
        after JSONB,
        reason TEXT,
        sync_run_id BIGINT,
        detected_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT tag_change_log_type_check
            CHECK (change_type IN ('created', 'activated', 'deactivated', 'updated')),
        FOREIGN KEY(sync_run_id) REFERENCES sync_runs (id) ON DELETE SET NULL
    )
    """,
    "CREATE INDEX ix_tag_change_log_id_tag ON tag_change_log (id_tag)",
    "CREATE INDEX tag_change_log_detected_idx ON tag_change_log (detected_at DESC)",
)

COLUMNS = (
    "ALTER TABLE chargers ADD COLUMN gone_at TIMESTAMPTZ",
    "ALTER TABLE charging_sessions ADD COLUMN vanished_at TIMESTAMPTZ",
    "CREATE INDEX charging_sessions_connector_idx ON charging_sessions (charge_box_id, connector_id, started_at)",
    """
    CREATE INDEX charging_sessions_followed_idx ON charging_sessions (steve_transaction_id)
        WHERE vanished_at IS NULL AND (stopped_at IS NULL OR stop_actor = 'manual')
    """,
    "ALTER TABLE energy_slices ADD COLUMN layer INTEGER DEFAULT 0 NOT NULL",
    "ALTER TABLE energy_slices ADD COLUMN late BOOLEAN DEFAULT false NOT NULL",
    "ALTER TABLE energy_slices ADD CONSTRAINT energy_slices_layer_check CHECK (layer >= 0)",
    "ALTER TABLE energy_slices DROP CONSTRAINT energy_slices_no_overlap",
    """
    ALTER TABLE energy_slices ADD CONSTRAINT energy_slices_no_overlap
    EXCLUDE USING gist (session_id WITH =, layer WITH =, int8range(from_wh, to_wh) WITH &&)
    """,
    "ALTER TABLE lago_subscriptions ADD COLUMN ending_at TIMESTAMPTZ",
    "ALTER TABLE lago_subscriptions ADD COLUMN period_started_at TIMESTAMPTZ",
    "ALTER TABLE lago_subscriptions ADD COLUMN period_ending_at TIMESTAMPTZ",
    "ALTER TABLE lago_subscriptions ADD COLUMN payload JSONB DEFAULT '{}' NOT NULL",
    "ALTER TABLE lago_subscriptions ALTER COLUMN payload DROP DEFAULT",
    "ALTER TABLE lago_subscriptions ADD COLUMN lago_updated_at TIMESTAMPTZ",
    "ALTER TABLE lago_subscriptions ADD COLUMN deleted_at TIMESTAMPTZ",
    "ALTER TABLE tag_mappings ADD COLUMN deactivation_reason TEXT",
    "ALTER TABLE tag_mappings ADD COLUMN deactivated_at TIMESTAMPTZ",
    """
    ALTER TABLE tag_mappings ADD CONSTRAINT tag_mappings_deactivation_reason_check
    CHECK (deactivation_reason IN ('reported_lost', 'operator', 'subscription_terminated', 'expired'))
    """,
    "ALTER TABLE tag_mappings ADD COLUMN revision BIGINT DEFAULT 1 NOT NULL",
    "ALTER TABLE tag_mappings ADD COLUMN synced_revision BIGINT DEFAULT 0 NOT NULL",
    "CREATE INDEX tag_mappings_sync_due_idx ON tag_mappings (id) WHERE synced_revision < revision",
)

# Whoever changes a mapping, and however: the sync-worker finds it.
MAPPING_REVISIONS = (
    """
    CREATE FUNCTION count_mapping_revision() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.revision := OLD.revision + 1;
        NEW.updated_at := now();
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER tag_mappings_changed BEFORE UPDATE ON tag_mappings
    FOR EACH ROW WHEN (
        (OLD.id_tag, OLD.user_id, OLD.lago_customer_external_id, OLD.lago_subscription_external_id, OLD.tag_type,
            OLD.billing_tier, OLD.is_active, OLD.deactivation_reason)
        IS DISTINCT FROM (NEW.id_tag, NEW.user_id, NEW.lago_customer_external_id, NEW.lago_subscription_external_id,
            NEW.tag_type, NEW.billing_tier, NEW.is_active, NEW.deactivation_reason)
    ) EXECUTE FUNCTION count_mapping_revision()
    """,
)

# A layer may only cover what the layer below covers: energy is taken back only where it was sold, sold again only where
# it was taken back. With no overlap inside a layer, each watt-hour is sold at most once.
LAYERS = (
    """
    CREATE FUNCTION check_slice_layer() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.layer > 0 AND NOT coalesce((
            SELECT range_agg(int8range(from_wh, to_wh)) @> int8range(NEW.from_wh, NEW.to_wh)
            FROM energy_slices WHERE session_id = NEW.session_id AND layer = NEW.layer - 1), false)
        THEN
            RAISE EXCEPTION 'session %: layer % covers energy that layer % does not',
                NEW.session_id, NEW.layer, NEW.layer - 1 USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER energy_slices_layered BEFORE INSERT ON energy_slices
    FOR EACH ROW WHEN (NEW.layer > 0) EXECUTE FUNCTION check_slice_layer()
    """,
    """
    CREATE OR REPLACE FUNCTION check_session_conservation() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        sold bigint;
        metered bigint;
    BEGIN
        SELECT coalesce(sum(CASE WHEN layer % 2 = 0 THEN to_wh - from_wh ELSE from_wh - to_wh END), 0) INTO sold
        FROM energy_slices WHERE session_id = NEW.session_id;
        IF sold <> NEW.billed_wh THEN
            RAISE EXCEPTION 'session %: billed_wh is % but its slices add up to %', NEW.session_id, NEW.billed_wh, sold
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        IF NEW.status = 'billed' THEN
            SELECT stop_wh - start_wh INTO metered FROM charging_sessions WHERE id = NEW.session_id;
            IF metered IS DISTINCT FROM sold THEN
                RAISE EXCEPTION 'session %: slices add up to % but the meter says %', NEW.session_id, sold, metered
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
        END IF;
        RETURN NULL;
    END $$
    """,
)


def upgrade() -> None:
    """Add what the whole money path needs; nothing that exists is lost."""
    for statement in (*TABLES, *COLUMNS, *MAPPING_REVISIONS, *LAYERS):
        op.execute(statement)
    op.execute("INSERT INTO sync_schedule (id) VALUES (1)")
