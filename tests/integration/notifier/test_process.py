"""``python -m notifier``: clear refusals at the start, a quick and polite end."""

import asyncio
import signal
import socket
import subprocess

import pytest
from tests.integration.notifier.conftest import StreamWorld, free_port, next_session, start_process, started
from tests.integration.notifier.stream_client import StreamClient

from polaris_cli.embedded import EmbeddedPostgres

SOON = 60


def _refusal(environment: dict[str, str]) -> tuple[int, str]:
    process = start_process(environment)
    _, complaint = process.communicate(timeout=SOON)
    return process.returncode, complaint


async def test_it_refuses_to_start_in_one_clear_sentence(world: StreamWorld, postgres: EmbeddedPostgres) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = str(taken.getsockname()[1])
    away = "postgresql://polaris:hunter2hunter2@127.0.0.1:1/polaris"

    def environment(port: str | None = None, **changes: str) -> dict[str, str]:
        address = {"NOTIFIER_HOST": "127.0.0.1", "NOTIFIER_PORT": port or str(free_port())}
        return world.environment(**address, **changes)

    refusals = await asyncio.gather(
        asyncio.to_thread(_refusal, environment(port)),
        asyncio.to_thread(_refusal, environment(DATABASE_URL=away)),
        asyncio.to_thread(_refusal, environment(DATABASE_URL=postgres.url())),
        asyncio.to_thread(_refusal, environment(SSE_MAX_STREAMS="none")),
    )
    taken.close()

    assert all(status != 0 for status, _ in refusals)
    assert all(complaint.count("\n") == 1 and "hunter2" not in complaint for _, complaint in refusals)
    facts = (f"cannot listen on 127.0.0.1:{port}", "check DATABASE_URL", "run the migrations", "SSE_MAX_STREAMS")
    for fact, (_, complaint) in zip(facts, refusals, strict=True):
        assert fact in complaint


async def test_sigterm_ends_it_within_seconds_although_streams_are_open(world: StreamWorld) -> None:
    driver, port = await world.person(), free_port()
    async with world.process(port=port) as process, StreamClient(port, driver.token) as stream:
        await world.emit(started(driver.audience, 1))
        assert await next_session(stream) == 1

        stream.parser.retry = None
        process.send_signal(signal.SIGTERM)
        assert await stream.ended() == []
        assert stream.parser.retry is not None
        try:
            assert await asyncio.to_thread(process.wait, 5) == 0
        except subprocess.TimeoutExpired:
            pytest.fail("the notifier did not end")
