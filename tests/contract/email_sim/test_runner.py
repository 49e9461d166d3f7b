"""The simulators as one process."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator

import httpx
import pytest

from polaris_sim.email_worker import sign
from polaris_sim.runner import read_options

SECRETS = {"SIM_STEVE_PASSWORD": "pw-of-steve", "SIM_LAGO_KEY": "key-of-lago", "SIM_EMAIL_SECRET": "e" * 32}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """Start the runner with secrets in its environment."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "polaris_sim",
        *arguments,
        env={**os.environ, **SECRETS},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@contextlib.asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A runner that is killed if the test does not end it."""
    process = await start(*arguments)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def answer(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """The first answer of a server that is starting."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await client.get(url)
            except httpx.ConnectError:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_three_simulators_run_together_and_end_quietly_on_a_signal(number: signal.Signals) -> None:
    steve, lago, email = free_ports(3)
    ports = ["--steve-port", str(steve), "--lago-port", str(lago), "--email-port", str(email)]
    async with (
        running(*ports, "--fleet", "5", "--sample-seconds", "0.05", "--lago-store", "clickhouse") as process,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        tags = await answer(client, f"http://polaris:pw-of-steve@127.0.0.1:{steve}/steve/api/v1/ocppTags")
        key = {"authorization": "Bearer key-of-lago"}
        organization = await client.get(f"http://127.0.0.1:{lago}/api/v1/organizations", headers=key)
        await client.put(f"http://127.0.0.1:{lago}/_sim/clock", json={"now": "2030-01-01T00:00:00Z", "speed": 0})
        clock = await client.get(f"http://127.0.0.1:{steve}/_sim/clock")
        unsigned = await client.post(f"http://127.0.0.1:{email}/send", content=b"{}")
        signed = await client.post(
            f"http://127.0.0.1:{email}/send", content=b"{}", headers={"x-polaris-sig": sign("e" * 32, b"{}")}
        )
        process.send_signal(number)
        output = await asyncio.wait_for(process.communicate(), 10)

    assert (process.returncode, output) == (0, (b"", b""))
    assert len(tags.json()) == 10
    assert organization.json()["organization"]["events_store"] == "clickhouse"
    assert clock.json()["now"].startswith("2030-01-01T00:00:00")
    assert (unsigned.status_code, signed.status_code) == (401, 400)


async def test_a_taken_port_ends_it_with_one_sentence_and_code_2() -> None:
    (free,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await start("--steve-port", str(free), "--lago-port", str(port))
        output, errors = await asyncio.wait_for(process.communicate(), 20)

    assert (process.returncode, output) == (2, b"")
    sentence = errors.decode().strip()
    assert sentence.startswith(f"The lago simulator cannot listen on 127.0.0.1:{port}")
    assert "\n" not in sentence


def test_secrets_in_the_environment_win_over_arguments() -> None:
    options = read_options(["--lago-port", "1", "--lago-key", "seen"], {"SIM_LAGO_KEY": "hidden"})

    assert options.lago_key == "hidden"


@pytest.mark.parametrize("arguments", [[], ["--lago-port", "1", "--fleet", "2"]])
def test_nothing_to_run_is_said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        read_options(arguments, {})

    assert stopped.value.code == 2
    assert "--steve-port" in capsys.readouterr().err
