"""Devices with their credentials, printed QR cards, and pairings.

Revision ID: 0007
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE devices (
        id UUID DEFAULT gen_random_uuid() NOT NULL,
        kind TEXT DEFAULT 'phone_nfc' NOT NULL,
        label TEXT NOT NULL,
        capabilities TEXT[] DEFAULT '{scanner}' NOT NULL,
        owner_user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        platform TEXT,
        model TEXT,
        os_version TEXT,
        app_version TEXT,
        push_token TEXT,
        apns_environment TEXT,
        last_seen_at TIMESTAMPTZ,
        last_status JSONB,
        last_location_lat FLOAT,
        last_location_lon FLOAT,
        last_location_accuracy_m FLOAT,
        last_location_at TIMESTAMPTZ,
        registered_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        deleted_at TIMESTAMPTZ,
        revoked_at TIMESTAMPTZ,
        revoked_by_user_id UUID REFERENCES users (id) ON DELETE SET NULL,
        PRIMARY KEY (id),
        CONSTRAINT devices_kind_check CHECK (kind IN ('phone_nfc', 'tablet_nfc', 'laptop_nfc')),
        CONSTRAINT devices_apns_environment_check CHECK (apns_environment IN ('sandbox', 'production')),
        CONSTRAINT devices_capabilities_check CHECK (
            capabilities <@ ARRAY['scanner', 'user', 'kiosk', 'managed'] AND cardinality(capabilities) > 0
        ),
        CONSTRAINT devices_kiosk_check CHECK (
            NOT 'kiosk' = ANY(capabilities) OR ('scanner' = ANY(capabilities)) <> ('user' = ANY(capabilities))
        )
    )
    """,
    "CREATE INDEX devices_owner_idx ON devices (owner_user_id, last_seen_at DESC) WHERE deleted_at IS NULL",
    "CREATE INDEX devices_capabilities_idx ON devices USING gin (capabilities) WHERE deleted_at IS NULL",
    """
    CREATE TABLE device_tokens (
        id UUID DEFAULT gen_random_uuid() NOT NULL,
        device_id UUID NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
        token_hash TEXT NOT NULL,
        sealed_secret BYTEA NOT NULL,
        expires_at TIMESTAMPTZ NOT NULL,
        revoked_at TIMESTAMPTZ,
        last_used_at TIMESTAMPTZ,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (token_hash)
    )
    """,
    "CREATE INDEX device_tokens_device_idx ON device_tokens (device_id, created_at DESC)",
    """
    CREATE TABLE qr_cards (
        user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        printed_id TEXT NOT NULL,
        issued_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        disabled_at TIMESTAMPTZ,
        last_used_at TIMESTAMPTZ,
        PRIMARY KEY (user_id),
        UNIQUE (printed_id),
        CONSTRAINT qr_cards_printed_id_check CHECK (printed_id ~ '^[23456789ABCDEFGHJKMNPQRSTVWXYZ]{8}$')
    )
    """,
    # Cards in people's hands carry the public id; from now on they count as issued today.
    "INSERT INTO qr_cards (user_id, printed_id) SELECT id, public_id FROM users WHERE role = 'customer'",
    # Whoever makes a driver's account, the driver has a card: it begins as the public id.
    """
    CREATE FUNCTION issue_first_qr_card() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO qr_cards (user_id, printed_id) VALUES (NEW.id, NEW.public_id) ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER users_first_qr_card AFTER INSERT OR UPDATE OF role ON users
    FOR EACH ROW WHEN (NEW.role = 'customer') EXECUTE FUNCTION issue_first_qr_card()
    """,
    """
    CREATE TABLE pairings (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        pairable_type TEXT NOT NULL,
        target TEXT NOT NULL,
        code TEXT NOT NULL,
        purpose TEXT NOT NULL,
        status TEXT DEFAULT 'armed' NOT NULL,
        hint_label TEXT,
        armed_by_user_id UUID REFERENCES users (id) ON DELETE SET NULL,
        ip_address TEXT,
        created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
        expires_at TIMESTAMPTZ NOT NULL,
        matched_id_tag TEXT,
        matched_at TIMESTAMPTZ,
        released_by TEXT,
        PRIMARY KEY (id),
        CONSTRAINT pairings_code_key UNIQUE (pairable_type, target, code),
        CONSTRAINT pairings_pairable_type_check CHECK (pairable_type IN ('charger', 'device')),
        CONSTRAINT pairings_purpose_check CHECK (purpose IN ('login', 'admin-link', 'customer-link', 'view-card')),
        CONSTRAINT pairings_status_check CHECK (status IN ('armed', 'matched', 'consumed', 'released')),
        CONSTRAINT pairings_matched_check CHECK (
            status NOT IN ('matched', 'consumed') OR (matched_id_tag IS NOT NULL AND matched_at IS NOT NULL)
        )
    )
    """,
    "CREATE UNIQUE INDEX pairings_armed_key ON pairings (pairable_type, target) WHERE status = 'armed'",
    "CREATE INDEX pairings_target_idx ON pairings (pairable_type, target, created_at DESC)",
    "CREATE INDEX pairings_address_idx ON pairings (ip_address, created_at DESC)",
    "CREATE INDEX ix_pairings_expires_at ON pairings (expires_at)",
)


def upgrade() -> None:
    """Add devices, cards and pairings; every driver keeps the card they have."""
    for statement in STATEMENTS:
        op.execute(statement)
