"""The figures that come from the database."""

import re
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from billing_bridge.metrics import SLICES
from gateway.ocpp.metrics import HOOKS
from notifier.metrics import SSE_CONNECTIONS
from polaris_common.db import Database
from polaris_common.observability.figures import CHARGING, MONEY, TELLING
from polaris_common.observability.metrics import DatabaseFigures, Figure, metrics_app
from sync_worker.metrics import RUN_SECONDS

REFERENCE = Path(__file__).parents[3] / "docs/reference/metrics.md"
COUNTED = [SLICES, HOOKS, SSE_CONNECTIONS, RUN_SECONDS]
"""One of each process: with it come the others."""

FIGURES = [*MONEY, *CHARGING, *TELLING]


async def _scrape(figures: DatabaseFigures) -> str:
    transport = httpx.ASGITransport(metrics_app(figures))
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics.test") as client:
        return (await client.get("/metrics")).text


async def _execute(database: Database, statement: str) -> None:
    async with database.unit_of_work() as uow:
        await uow.execute(text(statement))


async def _an_unsent_slice(database: Database) -> None:
    for statement in (
        (
            "INSERT INTO charging_sessions (id, steve_transaction_id, charge_box_id, connector_id, id_tag, started_at,"
            " start_wh) OVERRIDING SYSTEM VALUE VALUES (7, 7, 'CP-1', 1, 'CARD', now(), 0)"
        ),
        (
            "INSERT INTO energy_slices (id, session_id, slice_index, from_wh, to_wh, started_at, ended_at, final,"
            " subscription_external_id) OVERRIDING SYSTEM VALUE VALUES (70, 7, 0, 0, 1500, now(), now(), false, 'sub')"
        ),
        (
            "INSERT INTO lago_events (slice_id, transaction_id, body, created_at)"
            " VALUES (70, 'steve_tx_7_0_1500', '{}', now() - interval '5 minutes')"
        ),
    ):
        await _execute(database, statement)


async def test_what_lago_does_not_have_is_shown_as_events_age_and_energy(database: Database) -> None:
    await _an_unsent_slice(database)

    shown = await _scrape(DatabaseFigures(database, MONEY))

    assert "polaris_lago_events_unsent 1.0\n" in shown
    assert "polaris_lago_events_unsent_wh 1500.0\n" in shown
    (age,) = re.findall(r"(?m)^polaris_lago_events_unsent_oldest_seconds (\S+)", shown)
    assert float(age) >= 300


async def test_sessions_that_wait_are_shown_by_reason(database: Database) -> None:
    await _an_unsent_slice(database)
    await _execute(
        database,
        "INSERT INTO session_billing (session_id, status, reason, billed_wh, slice_count)"
        " VALUES (7, 'held', 'unmapped', 1500, 1)",
    )

    assert 'polaris_sessions_held{reason="unmapped"} 1.0' in await _scrape(DatabaseFigures(database, MONEY))


async def test_however_often_somebody_scrapes_the_database_is_asked_once_in_a_while(database: Database) -> None:
    figures = DatabaseFigures(database, [Figure("polaris_calls", "Calls.", "SELECT nextval('calls') AS value")])
    await _execute(database, "CREATE SEQUENCE calls")

    shown = {re.findall(r"(?m)^polaris_calls (\S+)", await _scrape(figures))[0] for _ in range(5)}

    assert shown == {"1.0"}


@pytest.mark.parametrize("figures", [MONEY, CHARGING, TELLING])
async def test_an_empty_installation_can_be_scraped(database: Database, figures: tuple[Figure, ...]) -> None:
    shown = await _scrape(DatabaseFigures(database, figures))

    plain = [each.name for each in figures if each.label is None and each.name != "polaris_sync_last_success_seconds"]
    assert [name for name in plain if f"\n{name} " not in shown] == []


def test_every_metric_is_in_the_reference_and_nothing_else() -> None:
    ours = {family.name for family in REGISTRY.collect() if family.name.startswith("polaris_")}
    totals = {family.name for family in REGISTRY.collect() if family.type == "counter"}
    shown = {f"{name}_total" if name in totals else name for name in ours} | {each.name for each in FIGURES}

    documented = set(re.findall(r"`(polaris_[a-z_]+)", REFERENCE.read_text()))

    assert documented == shown
