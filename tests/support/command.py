"""Running the ``polaris`` command as people do: as a process."""

import asyncio
import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    status: int
    out: str
    err: str


async def polaris(*arguments: str, database_url: str, lago_url: str = "", lago_key: str = "lago-key") -> Answer:
    """Run one command on a test's database, with or without a Lago."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from polaris_cli.main import app; app()",
        *arguments,
        env={**os.environ, "DATABASE_URL": database_url, "LAGO_API_URL": lago_url, "LAGO_API_KEY": lago_key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Answer(process.returncode or 0, out.decode(), err.decode())
