"""Real worker processes against served simulators."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.ready.set()


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an app on a real socket; its address."""
    server = _Server(app)
    running = asyncio.create_task(server.serve())
    await server.ready.wait()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.force_exit = server.should_exit = True
        await running


class WorkerProcess:
    """One ``python -m sync_worker``, or of another service."""

    def __init__(self, process: asyncio.subprocess.Process, alive: Path) -> None:
        self._process, self._alive = process, alive

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """``kill -9``."""
        if self._process.returncode is None:
            self._process.kill()

    async def serving(self) -> None:
        """Wait until it serves: a signal before that ends it as it would any process."""
        async with asyncio.timeout(60):
            while not self._alive.exists():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)

    async def stop(self) -> int:
        """Ask it to end; its exit code."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self._process.wait()

    async def ended(self) -> tuple[int, str]:
        """Wait until it ends by itself; its exit code and what it said on stderr."""
        _, said = await self._process.communicate()
        return self._process.returncode or 0, said.decode()


@asynccontextmanager
async def workers(
    count: int,
    *,
    database_url: str,
    redis_url: str,
    steve: str = "http://steve.test",
    module: str = "sync_worker",
    **settings: str,
) -> AsyncIterator[list[WorkerProcess]]:
    """So many workers of a service side by side; whatever is left of them at the end is killed."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "STEVE_BASE_URL": f"{steve}/steve",
        "STEVE_API_USERNAME": "polaris",
        "STEVE_API_KEY": "steve-password",
        "TAG_SYNC_ENABLED": "false",
        **settings,
    }
    with tempfile.TemporaryDirectory(prefix="polaris-test-workers-") as folder:
        alive = [Path(folder) / str(number) for number in range(count)]
        started = [
            WorkerProcess(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    module,
                    env={"ALIVE_FILE": str(file), **environment},
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                ),
                file,
            )
            for file in alive
        ]
        try:
            yield started
        finally:
            for worker in started:
                worker.kill()
                await worker.stop()


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 20) -> float:
    """Look again and again until it is so; how long that took."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < seconds, "it never happened"
        await asyncio.sleep(0.05)
    return time.monotonic() - began
