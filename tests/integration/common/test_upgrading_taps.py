"""Cards and sessions of an installation that is upgraded are known to the first tap after it."""

import uuid

from sqlalchemy import text

from gateway.ocpp.schemas import Tap
from gateway.ocpp.tap_facts import TapFactsQuery
from polaris_cli.embedded import EmbeddedPostgres
from polaris_common.db import Database
from polaris_common.domain.tap_decision import TapReason, objection_to
from polaris_common.migrations.runner import upgrade
from polaris_common.settings import DatabaseSettings

POPULATE = (
    (
        "INSERT INTO tag_mappings (id_tag, is_active, deactivation_reason) VALUES"
        " ('LOST', false, 'reported_lost'), ('GOOD', true, NULL)"
    ),
    (
        "INSERT INTO charging_sessions"
        " (steve_transaction_id, charge_box_id, connector_id, id_tag, started_at, start_wh, state)"
        " VALUES (7, 'CP-1', 1, 'GOOD', now(), 0, 'open')"
    ),
)


async def test_a_lost_card_is_refused_and_an_open_session_goes_on(postgres: EmbeddedPostgres) -> None:
    name = f"populated_{uuid.uuid4().hex[:12]}"
    database = Database(DatabaseSettings(database_url=postgres.create_database(name)), application_name="test")
    query = TapFactsQuery(database, protected=(), timeout_seconds=10)
    try:
        await upgrade(database, "0012")
        async with database.unit_of_work() as uow:
            for statement in POPULATE:
                await uow.execute(text(statement))
        await upgrade(database)
        reasons = [objection_to((await query.known_of(_tap(tag))).facts) for tag in ("LOST", "GOOD")]
        async with database.unit_of_work() as uow:
            states = (await uow.session.scalars(text("SELECT state FROM charging_sessions"))).all()
        assert (reasons, states) == ([TapReason.CARD_LOST, TapReason.NO_OBJECTION], ["open"])
    finally:
        await query.close()
        await database.close()
        postgres.drop_database(name)


def _tap(id_tag: str) -> Tap:
    return Tap(id_tag=id_tag, charge_box_id="CP-1", connector_id=1, is_start=True)
