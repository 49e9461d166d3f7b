"""Identity: one-time tokens, browser sessions, the audit of sign-ins, progressive delays.

Revision ID: 0005
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE users ADD COLUMN email_verified BOOLEAN DEFAULT false NOT NULL",
    "ALTER TABLE users ADD COLUMN superadmin BOOLEAN DEFAULT false NOT NULL",
    "ALTER TABLE users ADD COLUMN onboarded_at TIMESTAMPTZ",
    "ALTER TABLE users ADD CONSTRAINT users_superadmin_check CHECK (role = 'admin' OR NOT superadmin)",
    "ALTER TABLE auth_sessions ADD COLUMN last_seen_at TIMESTAMPTZ DEFAULT now() NOT NULL",
    "ALTER TABLE auth_sessions ADD COLUMN remembered BOOLEAN DEFAULT true NOT NULL",
    "ALTER TABLE auth_sessions ADD COLUMN browser_hash BYTEA",
    "ALTER TABLE auth_sessions ADD COLUMN acting_as UUID REFERENCES users (id) ON DELETE SET NULL",
    "ALTER TABLE auth_sessions ADD COLUMN acting_until TIMESTAMPTZ",
    "CREATE INDEX ix_auth_sessions_browser_hash ON auth_sessions (browser_hash)",
    """
    CREATE TABLE one_time_tokens (
        id UUID DEFAULT gen_random_uuid() NOT NULL,
        purpose TEXT NOT NULL,
        token_hash BYTEA NOT NULL,
        user_id UUID REFERENCES users (id) ON DELETE CASCADE,
        payload JSONB DEFAULT '{}' NOT NULL,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        expires_at TIMESTAMPTZ NOT NULL,
        consumed_at TIMESTAMPTZ,
        PRIMARY KEY (id),
        UNIQUE (token_hash)
    )
    """,
    "CREATE INDEX ix_one_time_tokens_user_id ON one_time_tokens (user_id)",
    "CREATE INDEX ix_one_time_tokens_expires_at ON one_time_tokens (expires_at)",
    """
    CREATE TABLE auth_audit (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        event TEXT NOT NULL,
        user_id UUID REFERENCES users (id) ON DELETE SET NULL,
        email_hash TEXT,
        ip_address TEXT,
        user_agent TEXT,
        route TEXT,
        details JSONB DEFAULT '{}' NOT NULL,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX auth_audit_event_idx ON auth_audit (event, created_at DESC)",
    "CREATE INDEX auth_audit_user_idx ON auth_audit (user_id, created_at DESC)",
    "CREATE INDEX auth_audit_created_idx ON auth_audit (created_at)",
    """
    CREATE TABLE impersonation_audit (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        admin_user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        customer_user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        route TEXT NOT NULL,
        method TEXT NOT NULL,
        minute TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT impersonation_audit_minute_key UNIQUE (admin_user_id, customer_user_id, route, minute)
    )
    """,
    "CREATE INDEX impersonation_audit_customer_idx ON impersonation_audit (customer_user_id, minute DESC)",
    """
    CREATE TABLE sign_in_failures (
        subject_hash BYTEA NOT NULL,
        failures INTEGER NOT NULL,
        blocked_until TIMESTAMPTZ,
        updated_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (subject_hash)
    )
    """,
    "CREATE INDEX ix_sign_in_failures_updated_at ON sign_in_failures (updated_at)",
)


def upgrade() -> None:
    """Add what sign-in needs; existing sessions go on."""
    for statement in STATEMENTS:
        op.execute(statement)
