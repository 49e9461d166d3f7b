"""The sign of life of a process without HTTP: a file that stays fresh while the event loop turns.

``python -m polaris_common.alive PATH`` judges it: one sentence, and status 0 (alive) or 1 (not). A file from the future
is no sign of life either: the system's clock was set back, and only the next touch tells.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

TOUCH_EVERY_SECONDS = 5.0
MAX_AGE_SECONDS = 30.0

log = structlog.get_logger(__name__)


async def keep_alive_file(path: Path) -> None:
    """Touch ``path`` every five seconds until cancelled.

    A file that cannot be written is logged and tried again: the process goes on working, its health check fails.
    """
    while True:
        _touch(path)
        await asyncio.sleep(TOUCH_EVERY_SECONDS)


def _touch(path: Path) -> None:
    try:
        path.touch()
    except OSError as error:
        log.warning("alive_file_not_written", path=str(path), error=type(error).__name__)


def judge(path: Path, *, max_age: float) -> tuple[bool, str]:
    """Whether ``path`` was touched in the last ``max_age`` seconds, and the sentence that says so."""
    try:
        age = time.time() - path.stat().st_mtime
    except OSError as error:
        return False, f"Not alive: {path} cannot be read ({type(error).__name__})."
    if abs(age) > max_age:
        return False, f"Not alive: {path} was touched {age:.0f} s ago, more than {max_age:g} s."
    return True, f"Alive: {path} was touched {age:.0f} s ago."


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 when alive, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m polaris_common.alive", description="Is the process alive?")
    parser.add_argument("path", type=Path, help="the file that ALIVE_FILE names")
    parser.add_argument("--max-age", type=float, default=MAX_AGE_SECONDS, metavar="SECONDS")
    options = parser.parse_args(arguments)
    alive, sentence = judge(options.path, max_age=options.max_age)
    sys.stdout.write(sentence + "\n")
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main())
