"""A mail that waits while the installation is upgraded still leaves."""

import uuid
from datetime import timedelta

from sqlalchemy import select, text

from polaris_cli.embedded import EmbeddedPostgres
from polaris_common.db import Database
from polaris_common.email.queue import queued_content, queued_origin
from polaris_common.email.templates import MagicLink, TokenLink
from polaris_common.migrations.runner import upgrade
from polaris_common.models import OutgoingMail, Role, TokenPurpose
from polaris_common.settings import DatabaseSettings

WAITING = """
    INSERT INTO outgoing_mails (recipient, category, template, context) VALUES
        ('ann@example.org', 'magic-link', 'magic_link', '{
            "values": {"minutes": 15},
            "link": {"address": "https://x.test/?token=", "purpose": "magic_link", "seconds": 900, "role": "customer",
                     "payload": {"a": 1}},
            "origin": {"ip_address": "192.0.2.1", "user_agent": null, "route": null}
        }')
"""
SENT = """
    INSERT INTO outgoing_mails (recipient, category, template, context, sent_at)
        VALUES ('bob@example.org', 'magic-link', 'magic_link', '{}', now())
"""


async def test_a_waiting_mail_keeps_its_link_and_a_sent_one_stays_empty(postgres: EmbeddedPostgres) -> None:
    name = f"populated_{uuid.uuid4().hex[:12]}"
    database = Database(DatabaseSettings(database_url=postgres.create_database(name)), application_name="test")
    try:
        await upgrade(database, "0008")
        async with database.unit_of_work() as uow:
            await uow.execute(text(WAITING))
            await uow.execute(text(SENT))
        await upgrade(database)
        async with database.unit_of_work() as uow:
            query = select(OutgoingMail).order_by(OutgoingMail.recipient)
            waiting, sent = (await uow.execute(query)).scalars()
        link = TokenLink(
            "https://x.test/?token=", TokenPurpose.MAGIC_LINK, timedelta(minutes=15), Role.CUSTOMER, {"a": 1}
        )
        assert queued_content(waiting) == MagicLink(link)
        assert queued_origin(waiting).ip_address == "192.0.2.1"
        assert (sent.context, sent.sent_at is not None) == ({}, True)
    finally:
        await database.close()
        postgres.drop_database(name)
