"""Ends what its parent left behind: runs as a process of its own and needs nothing but the standard library.

It reads orders from its standard input, one a line, and acts when the input ends, which it does however the parent
died: ``+PGID`` and ``-PGID`` (a process group lives, is gone), ``+pg FOLDER`` and ``-pg FOLDER`` (a PostgreSQL data
folder in use, no longer).
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

FAST_SHUTDOWN_SECONDS = 10.0
GRACE_SECONDS = 2.0


def keep(orders: list[str]) -> tuple[set[int], set[str]]:
    """The process groups and data folders that are still in use after ``orders``."""
    groups: set[int] = set()
    folders: set[str] = set()
    for order in orders:
        adds, what = order[:1] == "+", order[1:].strip()
        if what.startswith("pg "):
            (folders.add if adds else folders.discard)(what.removeprefix("pg "))
        elif what.isdigit():
            (groups.add if adds else groups.discard)(int(what))
    return groups, folders


def end_group(group: int) -> None:
    """Let every process of ``group`` end, by force after two seconds."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while _group_lives(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def end_postgres(folder: str) -> None:
    """Shut down the server that uses ``folder``: fast, then at once."""
    try:
        pid = int((Path(folder) / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    for number in (signal.SIGINT, signal.SIGQUIT):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
        deadline = time.monotonic() + FAST_SHUTDOWN_SECONDS
        while _lives(pid):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main() -> None:
    """Read orders until the parent is gone, then end what is left: services together, then servers."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups, folders = keep(sys.stdin.read().splitlines())
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGTERM)
    for group in groups:
        end_group(group)
    for folder in folders:
        end_postgres(folder)


if __name__ == "__main__":
    main()
