"""PostgreSQL and Redis of one run, from wheels, under the state folder; one run at a time."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from polaris_cli.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedRedis
from polaris_cli.problems import BadInput, CommandError
from polaris_cli.stack.processes import Supervisor


@dataclass
class Servers:
    """Where the run's PostgreSQL and Redis are."""

    postgres: EmbeddedPostgres
    redis: EmbeddedRedis

    def ensure_database(self, name: str) -> str:
        """The address of database ``name``, made if it does not exist."""
        return self.postgres.url(name) if self.postgres.has_database(name) else self.postgres.create_database(name)

    def new_database(self, name: str) -> str:
        """The address of an empty database ``name``; what was in it is gone."""
        if self.postgres.has_database(name):
            self.postgres.drop_database(name)
        return self.postgres.create_database(name)


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; the kernel lets go of it however we end.

    Raises:
        BadInput: another process holds it, or it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder.parent / f"{folder.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadInput(f"The folder {folder.parent} cannot be used: {error.strerror}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise BadInput(f"Another run already uses {folder}; stop it first.") from None
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def running_servers(folder: Path, supervisor: Supervisor) -> Iterator[Servers]:
    """Start both servers with their files in ``folder`` and stop them at the end.

    Raises:
        CommandError: one of them does not start.
    """
    with ExitStack() as stack:
        try:
            redis = stack.enter_context(EmbeddedRedis((folder / "redis").resolve()))
            supervisor.keeper.order(f"+{redis.pid}")
            stack.callback(supervisor.keeper.order, f"-{redis.pid}")
            postgres_folder = (folder / "postgres").resolve()
            postgres = EmbeddedPostgres(postgres_folder)
        except EmbeddedError as error:
            raise CommandError(" ".join(str(error).split())) from None
        supervisor.keeper.order(f"+pg {postgres_folder}")
        stack.callback(supervisor.keeper.order, f"-pg {postgres_folder}")
        stack.callback(postgres.stop)
        yield Servers(postgres, redis)


def wipe(folder: Path) -> None:
    """Forget everything in ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
