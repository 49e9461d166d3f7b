"""Runs of an installation that is upgraded keep their outcome, and the one that waits can be cancelled.

Its old webhooks are forgotten.
"""

import uuid

from sqlalchemy import text

from polaris_cli.embedded import EmbeddedPostgres
from polaris_common.charging.sync_runs import SyncRunRepository
from polaris_common.db import Database
from polaris_common.lago.inbox import delete_old
from polaris_common.migrations.runner import upgrade
from polaris_common.settings import DatabaseSettings

POPULATE = (
    (
        "INSERT INTO sync_runs (trigger, status, started_at, completed_at, error) VALUES"
        " ('schedule', 'completed', now(), now(), NULL), ('schedule', 'failed', now(), now(), 'unreachable'),"
        " ('operator', 'requested', NULL, NULL, NULL)"
    ),
    "INSERT INTO sync_run_segments (sync_run_id, segment, status) SELECT id, 'tag_linking', 'warning' FROM sync_runs",
    (
        "INSERT INTO lago_webhook_events (unique_key, body_sha256, webhook_type, payload, status, processed_at)"
        " VALUES ('old', '', 'plan.updated', '{}', 'processed', now() - interval '1 year')"
    ),
)


async def test_runs_and_their_segments_stay(postgres: EmbeddedPostgres) -> None:
    name = f"populated_{uuid.uuid4().hex[:12]}"
    database = Database(DatabaseSettings(database_url=postgres.create_database(name)), application_name="test")
    try:
        await upgrade(database, "0013")
        async with database.unit_of_work() as uow:
            for statement in POPULATE:
                await uow.execute(text(statement))
        await upgrade(database)
        async with database.unit_of_work() as uow:
            await SyncRunRepository(uow).cancel(3)
            assert await delete_old(uow) == 1
        async with database.unit_of_work() as uow:
            runs = (await uow.execute(text("SELECT status, error FROM sync_runs ORDER BY id"))).all()
            segments = (await uow.session.scalars(text("SELECT status FROM sync_run_segments"))).all()
        assert [tuple(run) for run in runs] == [("completed", None), ("failed", "unreachable"), ("cancelled", None)]
        assert segments == ["warning"] * 3
    finally:
        await database.close()
        postgres.drop_database(name)
