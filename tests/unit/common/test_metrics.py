"""Who may scrape, and what is shown when the database is away."""

import asyncio
import socket

import httpx
import pytest

from polaris_common.db import Database
from polaris_common.observability.figures import MONEY
from polaris_common.observability.metrics import DatabaseFigures, metrics_app, metrics_server
from polaris_common.process import StartupError
from polaris_common.settings import DatabaseSettings, Settings


async def _scrape(token: str | None, **headers: str) -> int:
    transport = httpx.ASGITransport(metrics_app(None, token=token))
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics.test") as client:
        return (await client.get("/metrics", headers=headers)).status_code


async def test_without_a_port_nobody_is_shown_anything() -> None:
    await metrics_server(Settings(metrics_port=None))


def test_a_port_that_is_taken_stops_the_process_and_names_the_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(metrics_host="127.0.0.1", metrics_port=taken.getsockname()[1])
        with pytest.raises(StartupError, match="METRICS_PORT"):
            asyncio.run(metrics_server(settings))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "right"}, 401),
        ({"authorization": "Bearer right"}, 200),
    ],
)
async def test_where_a_token_is_set_only_its_bearer_may_scrape(headers: dict[str, str], status: int) -> None:
    assert await _scrape("right", **headers) == status


async def test_figures_that_cannot_be_read_are_left_out_and_the_rest_is_shown() -> None:
    away = Database(
        DatabaseSettings(database_url="postgresql://nobody:nothing@127.0.0.1:1/nowhere"), application_name="t"
    )
    transport = httpx.ASGITransport(metrics_app(DatabaseFigures(away, MONEY)))
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics.test") as client:
        answer = await client.get("/metrics")
    await away.close()

    assert answer.status_code == 200
    assert "polaris_lago_events_unsent" not in answer.text
    assert "process_cpu_seconds_total" in answer.text
