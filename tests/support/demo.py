"""The demo as people start it: a process of its own, and what it says when it is ready."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STOP_SECONDS = 30


@contextmanager
def running_demo(
    state: Path, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The demo's process and the line it prints when it is ready; stopped at the end if it still runs."""
    command = [sys.executable, "-c", "from polaris_cli.main import app; app()", "demo", "--headless"]
    with subprocess.Popen(
        [*command, "--port", str(port), "--state", str(state)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the demo has not started; its reason is on stderr"
            yield process, json.loads(line)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
