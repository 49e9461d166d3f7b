"""The process: what prevents a start is one sentence, and a stop lets requests finish."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

import httpx
import pytest
from tests.support.gateway import gateway_environment

from gateway.__main__ import listen, main
from polaris_common.process import StartupError


@asynccontextmanager
async def _gateway(environment: dict[str, str]) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", env=environment, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _refusal(environment: dict[str, str]) -> tuple[int, str]:
    async with _gateway(environment) as process, asyncio.timeout(60):
        _, said = await process.communicate()
        return process.returncode or 0, said.decode()


def _misconfigured(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """As ``_refusal``, for what ``main`` refuses before it does anything: no process is needed."""
    with patch.dict(os.environ, environment, clear=True), pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0), capsys.readouterr().err


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture
def environment(database_url: str, redis_url: str) -> dict[str, str]:
    """An environment that works."""
    listening = {"GATEWAY_HOST": "127.0.0.1", "GATEWAY_PORT": str(_free_port())}
    return gateway_environment(database_url, redis_url) | listening


@pytest.mark.parametrize(
    "name", ["DATABASE_URL", "AUTH_SECRET", "ADMIN_BASE_URL", "CUSTOMER_BASE_URL", "COOKIE_DOMAIN"]
)
def test_a_missing_variable_is_named(
    environment: dict[str, str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    del environment[name]

    assert _misconfigured(environment, capsys) == (2, f"Configuration error: {name} is not set.\n")


async def test_a_process_that_misses_a_variable_says_no_more_than_that(environment: dict[str, str]) -> None:
    del environment["AUTH_SECRET"]

    assert await _refusal(environment) == (2, "Configuration error: AUTH_SECRET is not set.\n")


@pytest.mark.parametrize("name", ["AUTH_SECRET", "STEVE_PREAUTH_HMAC_KEY", "STEVE_METERVALUE_HMAC_KEY"])
def test_a_short_secret_is_named_and_not_shown(
    environment: dict[str, str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = _misconfigured(environment | {name: "tiny"}, capsys)

    assert (status, said) == (2, f"Configuration error: {name} must have at least 32 characters.\n")


def test_two_surfaces_on_one_host_are_refused(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    same = {"ADMIN_BASE_URL": "http://localhost:1", "CUSTOMER_BASE_URL": "http://LOCALHOST:2"}

    status, said = _misconfigured(environment | same, capsys)

    assert status == 2
    assert "ADMIN_BASE_URL and CUSTOMER_BASE_URL" in said


async def test_a_taken_port_is_one_sentence(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", int(environment["GATEWAY_PORT"]))):
        status, said = await _refusal(environment)

    assert status == 1
    assert said.count("\n") == 1
    assert f"127.0.0.1:{environment['GATEWAY_PORT']}" in said
    assert "Address already in use" in said


def test_an_address_that_is_not_ours_is_one_sentence() -> None:
    with pytest.raises(StartupError) as refused:
        listen("no.such.host.invalid", 8000)

    assert "\n" not in str(refused.value)


async def test_an_unreachable_database_is_one_sentence_without_its_password(environment: dict[str, str]) -> None:
    status, said = await _refusal(environment | {"DATABASE_URL": "postgresql://polaris:hush@127.0.0.1:9/polaris"})

    assert (status, said.count("\n")) == (1, 1)
    assert "DATABASE_URL" in said
    assert "hush" not in said


async def test_a_gateway_serves_and_stops_when_told_to(environment: dict[str, str]) -> None:
    async with _gateway(environment) as process, httpx.AsyncClient() as client, asyncio.timeout(60):
        while True:
            try:
                ready = await client.get(f"http://127.0.0.1:{environment['GATEWAY_PORT']}/readyz")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = await process.communicate()

    assert (ready.status_code, process.returncode, said) == (200, 0, b"")


async def test_a_gateway_without_redis_starts_all_the_same(environment: dict[str, str]) -> None:
    environment["REDIS_URL"] = "redis://127.0.0.1:9/0"
    async with _gateway(environment) as process, httpx.AsyncClient() as client, asyncio.timeout(60):
        while True:
            try:
                ready = await client.get(f"http://127.0.0.1:{environment['GATEWAY_PORT']}/readyz")
                break
            except httpx.TransportError:
                assert process.returncode is None
                await asyncio.sleep(0.05)

    assert ready.status_code == 200
