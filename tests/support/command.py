"""Running the ``polaris`` command as people do."""

import asyncio
import os
import sys
from dataclasses import dataclass

from typer.testing import CliRunner

from polaris_cli.main import app


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    status: int
    out: str
    err: str


def _environment(database_url: str, lago_url: str = "", lago_key: str = "lago-key") -> dict[str, str]:
    return {"DATABASE_URL": database_url, "LAGO_API_URL": lago_url, "LAGO_API_KEY": lago_key}


async def polaris(*arguments: str, database_url: str, **lago: str) -> Answer:
    """Run one command on a test's database, with or without a Lago (``lago_url``, ``lago_key``).

    The command has an event loop of its own but no process: starting one costs a hundred times what most commands do.
    """
    environment = _environment(database_url, **lago)
    result = await asyncio.to_thread(lambda: CliRunner().invoke(app, arguments, env=environment))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


async def polaris_process(*arguments: str, database_url: str) -> Answer:
    """The same as a process, without a Lago."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from polaris_cli.main import app; app()",
        *arguments,
        env={**os.environ, **_environment(database_url)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Answer(process.returncode or 0, out.decode(), err.decode())
