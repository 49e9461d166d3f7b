"""Child processes: started in sessions of their own, watched, restarted and stopped, and never left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from polaris_cli.problems import CommandError
from polaris_cli.stack import keeper

STOP_SECONDS = 10.0


class ChildDied(CommandError):
    """A process that must run has ended by itself."""

    def __init__(self, name: str, status: int, last_line: str, log: Path) -> None:
        if status < 0:
            sentence = f"{name} was ended by {signal.Signals(-status).name}."
        else:
            sentence = f"{name} has stopped (status {status}): {last_line or 'it said nothing.'}"
        super().__init__(f"{sentence} (log: {log})")
        self.name, self.status = name, status


@dataclass
class Child:
    """One supervised process and how to start it again."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group."""
        return self.process.pid


class Keeper:
    """Our end of the process that cleans up after us if we are killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def order(self, line: str) -> None:
        """Tell it one thing; a keeper that is gone is no reason to stop."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.write(f"{line}\n".encode())
                self._process.stdin.flush()

    def close(self) -> None:
        """Let it clean up whatever we did not, and wait for it."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._process.wait()


class Supervisor:
    """Every process of one run, in the order they were started. Use as a context: leaving it stops them all."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._children: dict[str, Child] = {}
        self.keeper = Keeper()

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self.keeper.close()

    @property
    def children(self) -> list[Child]:
        """All children, oldest first."""
        return list(self._children.values())

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
        """Start ``command`` with ``environment`` added to ours, its output in ``<logs>/<name>.log``."""
        log = self._logs / f"{name}.log"
        log.write_bytes(b"")
        variables = {**os.environ, **(environment or {}), "PYTHONUNBUFFERED": "1"}
        child = Child(name, command, variables, log, self._spawn(command, variables, log))
        self._children[name] = child
        return child

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start ``command`` and wait until it has done its work.

        Raises:
            ChildDied: it ended with a status other than 0.
        """
        child = self.start(name, command, environment)
        status = child.process.wait()
        self._forget(child)
        del self._children[name]
        if status != 0:
            raise ChildDied(name, status, last_words(child.log), child.log)

    def check(self) -> None:
        """Make sure that everything still runs.

        Raises:
            ChildDied: the first that does not.
        """
        for child in self._children.values():
            status = child.process.poll()
            if status is not None:
                raise ChildDied(child.name, status, last_words(child.log), child.log)

    def kill(self, name: str) -> None:
        """End a child with SIGKILL, as the kernel would."""
        child = self._children[name]
        _signal_group(child, signal.SIGKILL)
        child.process.wait()
        self._forget(child)

    def restart(self, name: str) -> None:
        """Start a child that has ended again; its log goes on."""
        child = self._children[name]
        child.process = self._spawn(child.command, child.environment, child.log)

    def stop(self) -> None:
        """Stop everything, newest first: SIGTERM, and SIGKILL for what is left after ten seconds."""
        stopping = list(reversed(self._children.values()))
        for child in stopping:
            if child.process.poll() is None:
                _signal_group(child, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for child in stopping:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(deadline - time.monotonic(), 0))
        for child in stopping:
            _signal_group(child, signal.SIGKILL)
            child.process.wait()
            self._forget(child)
        self._children.clear()

    def _spawn(self, command: Sequence[str], variables: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.keeper.order(f"+{process.pid}")
        return process

    def _forget(self, child: Child) -> None:
        self.keeper.order(f"-{child.pid}")


def last_words(log: Path) -> str:
    """The last line of a log as a person would say it; empty when there is none."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    if not lines:
        return ""
    try:
        entry = json.loads(lines[-1])
    except ValueError:
        return lines[-1].strip()
    if not isinstance(entry, dict):
        return lines[-1].strip()
    trace = str(entry.get("exception", "")).strip().splitlines()
    return trace[-1] if trace else str(entry.get("event", lines[-1]))


def _signal_group(child: Child, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
