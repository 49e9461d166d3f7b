"""What a gateway does ahead, when it starts, so that nobody waits for it later."""

import pytest
from fastapi import FastAPI
from tests.support.sql import WithDatabase
from tests.support.worker_processes import until

from gateway.housekeeping.service import clean_up
from gateway.ocpp.tap_facts import TapFactsQuery
from polaris_common.db import Database

_start = TapFactsQuery.start
"""As it is outside of this folder's tests."""

_CONNECTED = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'gateway'"
_FAILURES = "SELECT count(*) AS n FROM sign_in_failures"


async def test_a_gateway_has_connected_before_the_first_tap(
    app: FastAPI, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TapFactsQuery, "start", _start)

    async with app.router.lifespan_context(app):
        await until(lambda: _is(WithDatabase(database), _CONNECTED, 2))


async def test_a_gateway_that_starts_forgets_what_has_served_its_time(
    app: FastAPI, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.app.clean_up", clean_up)
    sql = WithDatabase(database)
    await sql.execute(
        "INSERT INTO sign_in_failures (subject_hash, failures, updated_at) VALUES ('x', 1, now() - interval '2 days')"
    )

    async with app.router.lifespan_context(app):
        await until(lambda: _is(sql, _FAILURES, 0))


async def _is(sql: WithDatabase, query: str, number: int) -> bool:
    return bool((await sql.row(query)).n == number)
