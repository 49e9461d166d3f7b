"""Mail: what a recipient may get in a while, why a try failed, and each recipient's language and time zone.

Revision ID: 0009
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE outgoing_mails ALTER COLUMN locale DROP NOT NULL, ALTER COLUMN locale DROP DEFAULT",
    "ALTER TABLE outgoing_mails ADD COLUMN time_zone TEXT",
    "ALTER TABLE outgoing_mails ADD COLUMN handed_at TIMESTAMPTZ",
    "ALTER TABLE outgoing_mails ADD COLUMN last_error TEXT",
    # What an address gets in a while is limited; so is what one burst costs to look at.
    """
    CREATE INDEX outgoing_mails_handed_idx ON outgoing_mails (lower(recipient), category, handed_at)
        WHERE handed_at IS NOT NULL
    """,
    "CREATE INDEX outgoing_mails_dead_idx ON outgoing_mails (dead_at) WHERE dead_at IS NOT NULL",
    # Mails that wait for their first or next try: a link is one of a mail's values now.
    """
    UPDATE outgoing_mails SET context = jsonb_build_object(
        'values', jsonb_build_object('link',
            (context -> 'link') - 'seconds' || jsonb_build_object('lifetime', context -> 'link' -> 'seconds')),
        'origin', context -> 'origin')
    WHERE sent_at IS NULL AND dead_at IS NULL AND jsonb_typeof(context -> 'link') = 'object'
    """,
)


def upgrade() -> None:
    """Add columns and indexes; rewrite what waits."""
    for statement in STATEMENTS:
        op.execute(statement)
