"""A database with deliveries and findings keeps them when billing is watched."""

import uuid

from sqlalchemy import text

from polaris_cli.embedded import EmbeddedPostgres
from polaris_common.db import Database
from polaris_common.migrations.runner import upgrade
from polaris_common.observability.billing_figures import billing_figures
from polaris_common.settings import DatabaseSettings

POPULATE = (
    (
        "INSERT INTO charging_sessions (steve_transaction_id, charge_box_id, connector_id, id_tag, started_at,"
        " start_wh, stopped_at, stop_wh, state) VALUES (1, 'CP-1', 1, 'TAG', now(), 0, now(), 3000, 'settled')"
    ),
    (
        "INSERT INTO energy_slices (session_id, slice_index, from_wh, to_wh, started_at, ended_at, final,"
        " subscription_external_id) SELECT 1, n, n * 1000, (n + 1) * 1000, now(), now(), false, 'sub'"
        " FROM generate_series(0, 2) AS n"
    ),
    (
        "INSERT INTO lago_events (slice_id, transaction_id, body, status)"
        " SELECT id, 'tx-' || slice_index, '{}', CASE WHEN slice_index < 2 THEN 'delivered' ELSE 'pending' END"
        " FROM energy_slices"
    ),
    "INSERT INTO reconciliation_findings (kind, subject, difference_wh) VALUES ('undelivered', 'tx-2', 1000)",
)


async def test_what_is_delivered_is_counted_and_findings_stay(postgres: EmbeddedPostgres) -> None:
    name = f"populated_{uuid.uuid4().hex[:12]}"
    database = Database(DatabaseSettings(database_url=postgres.create_database(name)), application_name="test")
    try:
        await upgrade(database, "0003")
        async with database.unit_of_work() as uow:
            for statement in POPULATE:
                await uow.execute(text(statement))
        await upgrade(database)
        async with database.unit_of_work() as uow:
            figures = await billing_figures(uow)
            finding = (await uow.execute(text("SELECT kind, transaction_ids FROM reconciliation_findings"))).one()
        assert (figures.delivered_total, figures.pending, figures.urgent) == (2, 1, 0)
        assert tuple(finding) == ("undelivered", [])
    finally:
        await database.close()
        postgres.drop_database(name)
