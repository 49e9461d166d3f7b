"""A process without HTTP is alive while its event loop turns."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from polaris_common import alive
from polaris_common.alive import keep_alive_file, main


@asynccontextmanager
async def kept_alive(path: Path) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_alive_file(path))
    try:
        await asyncio.sleep(0.05)
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def touched(path: Path, *, seconds_ago: float) -> Path:
    path.touch()
    moment = time.time() - seconds_ago
    os.utime(path, (moment, moment))
    return path


async def test_the_file_is_there_at_once_and_stays_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alive, "TOUCH_EVERY_SECONDS", 0.01)
    path = tmp_path / "alive"

    async with kept_alive(path):
        first = touched(path, seconds_ago=100).stat().st_mtime
        await asyncio.sleep(0.1)

    assert path.stat().st_mtime - first > 90


async def test_a_blocked_event_loop_lets_the_file_go_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alive, "TOUCH_EVERY_SECONDS", 0.01)
    path = tmp_path / "alive"

    async with kept_alive(path):
        time.sleep(0.5)  # noqa: ASYNC251 - the fault under test
        assert main([str(path), "--max-age", "0.3"]) == 1


async def test_a_file_that_cannot_be_written_does_not_stop_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alive, "TOUCH_EVERY_SECONDS", 0.01)
    path = tmp_path / "missing" / "alive"

    async with kept_alive(path):
        assert main([str(path)]) == 1
        path.parent.mkdir()
        await asyncio.sleep(0.1)
        assert main([str(path)]) == 0


@pytest.mark.parametrize(
    ("seconds_ago", "arguments", "status", "sentence"),
    [
        (0, [], 0, "Alive: {path} was touched 0 s ago.\n"),
        (20, [], 0, "Alive: {path} was touched 20 s ago.\n"),
        (40, [], 1, "Not alive: {path} was touched 40 s ago, more than 30 s.\n"),
        (40, ["--max-age", "60"], 0, "Alive: {path} was touched 40 s ago.\n"),
        (-3600, [], 1, "Not alive: {path} was touched -3600 s ago, more than 30 s.\n"),
    ],
)
def test_age_decides(
    seconds_ago: float,
    arguments: list[str],
    status: int,
    sentence: str,
    *,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = touched(tmp_path / "alive", seconds_ago=seconds_ago)

    assert main([str(path), *arguments]) == status
    assert capsys.readouterr().out == sentence.format(path=path)


def test_the_command_says_that_nothing_was_ever_written(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    command = [sys.executable, "-m", "polaris_common.alive", str(path)]

    asked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (asked.returncode, asked.stdout) == (1, f"Not alive: {path} cannot be read (FileNotFoundError).\n")
