"""A database with events and health rows keeps them; what happened before there were notifications is no news."""

import uuid

from sqlalchemy import text

from notifier.notifications.service import Projector
from polaris_cli.embedded import EmbeddedPostgres
from polaris_common.db import Database
from polaris_common.events.relay import number_waiting
from polaris_common.migrations.runner import upgrade
from polaris_common.settings import DatabaseSettings

POPULATE = (
    (
        "INSERT INTO domain_events (seq, type, audience, payload)"
        " SELECT n, 'billing.resumed', '{operators}', '{\"metricCode\": \"old\"}' FROM generate_series(1, 3) AS n"
    ),
    "UPDATE event_relay SET last_seq = 3",
    (
        "INSERT INTO domain_events (type, audience, payload)"
        " VALUES ('billing.resumed', '{operators}', '{\"metricCode\": \"new\"}')"
    ),
    "INSERT INTO tag_mappings (id_tag) VALUES ('TAG')",
    "INSERT INTO component_health (component, status, error) VALUES ('steve', 'degraded', 'unreachable')",
)


async def test_the_log_is_followed_from_its_end(postgres: EmbeddedPostgres) -> None:
    name = f"populated_{uuid.uuid4().hex[:12]}"
    database = Database(DatabaseSettings(database_url=postgres.create_database(name)), application_name="test")
    try:
        await upgrade(database, "0010")
        async with database.unit_of_work() as uow:
            for statement in POPULATE:
                await uow.execute(text(statement))
        await upgrade(database)
        relay = await database.connect_raw()
        await number_waiting(relay)
        await relay.close()
        await Projector(database).run()
        async with database.unit_of_work() as uow:
            told = list((await uow.execute(text("SELECT source_id FROM notifications"))).scalars())
            revisions = (await uow.execute(text("SELECT revision, told_revision FROM tag_mappings"))).one()
            health = (await uow.execute(text("SELECT error, failing_since, told_at FROM component_health"))).one()
        assert told == ["new"]
        assert tuple(revisions) == (1, 0)
        assert tuple(health) == ("unreachable", None, None)
    finally:
        await database.close()
        postgres.drop_database(name)
