"""A phone that is being asked for a card while the installation is upgraded goes on, and can be rung from then on."""

import uuid

from sqlalchemy import select, text

from polaris_cli.embedded import EmbeddedPostgres
from polaris_common.db import Database
from polaris_common.migrations.runner import upgrade
from polaris_common.models import AppDevice, Pairing
from polaris_common.push.queue import queue_scan_push
from polaris_common.settings import DatabaseSettings

POPULATE = (
    "INSERT INTO users (public_id, role, email) VALUES ('ABCD2345', 'admin', 'op@example.org')",
    (
        "INSERT INTO devices (label, owner_user_id, push_token, apns_environment)"
        " SELECT 'Reception', id, 'ab', 'sandbox' FROM users"
    ),
    (
        "INSERT INTO pairings (pairable_type, target, code, purpose, expires_at)"
        " SELECT 'device', id::text, 'ABCDEF', 'view-card', now() + interval '90 seconds' FROM devices"
    ),
)


async def test_devices_and_their_requests_stay(postgres: EmbeddedPostgres) -> None:
    name = f"populated_{uuid.uuid4().hex[:12]}"
    database = Database(DatabaseSettings(database_url=postgres.create_database(name)), application_name="test")
    try:
        await upgrade(database, "0009")
        async with database.unit_of_work() as uow:
            for statement in POPULATE:
                await uow.execute(text(statement))
        await upgrade(database)
        async with database.unit_of_work() as uow:
            device = (await uow.session.scalars(select(AppDevice))).one()
            pairing = (await uow.session.scalars(select(Pairing))).one()
            rung = await queue_scan_push(uow, pairing, device.id)
        assert (device.label, device.push_token, pairing.status, rung) == ("Reception", "ab", "armed", True)
    finally:
        await database.close()
        postgres.drop_database(name)
