"""The schema that migrations make."""

import uuid

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from polaris_cli.embedded import EmbeddedPostgres
from polaris_common.db import Database
from polaris_common.migrations.runner import upgrade
from polaris_common.models import Base
from polaris_common.settings import DatabaseSettings


def _differences(connection: Connection) -> list[str]:
    partitions = {
        row.relname
        for row in connection.execute(text("SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"))
    }
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name not in partitions,
        },
    )
    return [str(difference) for difference in compare_metadata(context, Base.metadata)]


async def test_the_migrations_and_the_models_describe_the_same_schema(database: Database) -> None:
    async with database.engine.connect() as connection:
        assert await connection.run_sync(_differences) == []


async def test_upgrading_twice_changes_nothing(database: Database) -> None:
    await upgrade(database)
    async with database.engine.connect() as connection:
        assert await connection.run_sync(_differences) == []


async def test_a_populated_database_of_the_first_schema_keeps_everything(postgres: EmbeddedPostgres) -> None:
    name = f"populated_{uuid.uuid4().hex[:12]}"
    database = Database(DatabaseSettings(database_url=postgres.create_database(name)), application_name="test")
    try:
        await upgrade(database, "0001")
        await _session_with_slice(database)
        async with database.unit_of_work() as uow:
            await uow.execute(text("INSERT INTO tag_mappings (id_tag, display_name) VALUES ('TAG', 'Ann')"))
            await uow.execute(
                text(
                    "INSERT INTO lago_subscriptions (lago_id, external_id, external_customer_id, plan_code, status)"
                    " VALUES ('l', 'sub', 'customer', 'plan', 'active')"
                )
            )
        await upgrade(database)
        async with database.unit_of_work() as uow:
            piece = (await uow.execute(text("SELECT from_wh, to_wh, layer, late FROM energy_slices"))).one()
            mapping = (await uow.execute(text("SELECT display_name, is_active FROM tag_mappings"))).one()
            subscription = (await uow.execute(text("SELECT external_id, payload FROM lago_subscriptions"))).one()
        assert tuple(piece) == (100, 600, 0, False)
        assert tuple(mapping) == ("Ann", True)
        assert tuple(subscription) == ("sub", {})
    finally:
        await database.close()
        postgres.drop_database(name)


async def _session_with_slice(database: Database) -> None:
    async with database.unit_of_work() as uow:
        await uow.execute(
            text(
                "INSERT INTO charging_sessions (steve_transaction_id, charge_box_id, connector_id, id_tag, started_at,"
                " start_wh, stopped_at, stop_wh, state) VALUES (1, 'CP-1', 1, 'TAG', now(), 100, now(),"
                " 1100, 'settled')"
            )
        )
        await uow.execute(
            text(
                "INSERT INTO energy_slices (session_id, slice_index, from_wh, to_wh, started_at, ended_at, final,"
                " subscription_external_id) VALUES (1, 0, 100, 600, now(), now(), false, 'sub')"
            )
        )


@pytest.mark.parametrize("statement", ["UPDATE energy_slices SET to_wh = 700", "DELETE FROM energy_slices"])
async def test_a_slice_can_never_be_changed_or_removed(database: Database, statement: str) -> None:
    await _session_with_slice(database)
    with pytest.raises(IntegrityError, match="append-only"):
        async with database.unit_of_work() as uow:
            await uow.execute(text(statement))


async def test_the_database_refuses_energy_that_overlaps_energy_already_sliced(database: Database) -> None:
    await _session_with_slice(database)
    with pytest.raises(IntegrityError, match="energy_slices_no_overlap"):
        async with database.unit_of_work() as uow:
            await uow.execute(
                text(
                    "INSERT INTO energy_slices (session_id, slice_index, from_wh, to_wh, started_at, ended_at, final,"
                    " subscription_external_id) VALUES (1, 1, 599, 800, now(), now(), false, 'sub')"
                )
            )


async def test_the_database_refuses_to_call_a_session_billed_when_its_slices_do_not_add_up(database: Database) -> None:
    await _session_with_slice(database)
    with pytest.raises(IntegrityError, match="meter says 1000"):
        async with database.unit_of_work() as uow:
            await uow.execute(
                text("INSERT INTO session_billing (session_id, status, billed_wh) VALUES (1, 'billed', 500)")
            )
