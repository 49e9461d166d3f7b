"""Sessions of an installation that is upgraded keep their ids, and nothing about them is due again."""

import uuid

from sqlalchemy import text

from polaris_cli.embedded import EmbeddedPostgres
from polaris_common.charging.sessions import ChargingSessionRepository
from polaris_common.db import Database
from polaris_common.migrations.runner import upgrade
from polaris_common.settings import DatabaseSettings

POPULATE = """
INSERT INTO charging_sessions (steve_transaction_id, charge_box_id, connector_id, id_tag, started_at, start_wh,
    stopped_at, stop_wh, state, vanished_at, revision, billed_revision)
VALUES (7, 'CP-1', 1, 'TAG', now(), 0, now(), 3000, 'settled', NULL, 2, 2),
    (9, 'CP-1', 1, 'TAG', now(), 0, now(), 3000, 'settled', now(), 2, 2)
"""


async def test_sessions_keep_their_transaction_ids(postgres: EmbeddedPostgres) -> None:
    name = f"populated_{uuid.uuid4().hex[:12]}"
    database = Database(DatabaseSettings(database_url=postgres.create_database(name)), application_name="test")
    try:
        await upgrade(database, "0015")
        async with database.unit_of_work() as uow:
            await uow.execute(text(POPULATE))
        await upgrade(database)
        query = "SELECT steve_transaction_id, former_transaction_id, revision - billed_revision FROM charging_sessions"
        async with database.unit_of_work() as uow:
            rows = [tuple(row) for row in await uow.execute(text(f"{query} ORDER BY id"))]
            assert await ChargingSessionRepository(uow).highest_transaction_id() == 7
        assert rows == [(7, None, 0), (9, None, 0)]
    finally:
        await database.close()
        postgres.drop_database(name)
