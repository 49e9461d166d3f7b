"""Sessions whose transaction id SteVe has used again for another charge keep their history under an id of their own.

Revision ID: 0016
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE charging_sessions ADD COLUMN former_transaction_id BIGINT",
    """
    CREATE INDEX charging_sessions_former_idx ON charging_sessions (former_transaction_id)
        WHERE former_transaction_id IS NOT NULL
    """,
    """
    CREATE INDEX charging_sessions_present_idx ON charging_sessions (steve_transaction_id)
        WHERE vanished_at IS NULL
    """,
)


def upgrade() -> None:
    """Add a column that no session has filled yet, and what is asked in every poll."""
    for statement in STATEMENTS:
        op.execute(statement)
