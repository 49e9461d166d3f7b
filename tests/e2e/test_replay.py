"""Real processes from a file to Lago's books."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

HEADER = "sessionId,kwhTotal,Date,Time,chargeTimeHrs,userId,stationId,locationId"
SESSIONS = 20
pytestmark = pytest.mark.timeout(180)


def write_file(folder: Path) -> tuple[Path, int]:
    """20 sessions of 3 drivers at 2 stations, the eighth without energy; the path and the Wh in it."""
    rows, total = [HEADER], 0
    for number in range(SESSIONS):
        wh = 0 if number == 7 else 1_230 + 970 * number
        total += wh
        rows.append(
            f"{number},{wh / 1000:.2f},{1 + number:02d}-03-2019,08:15:00,{number / 4},{number % 3},{number % 2},1"
        )
    path = folder / "sessions.csv"
    path.write_text("\n".join(rows) + "\n")
    return path, total


def replay(path: Path, state: Path, options: Sequence[str] = ()) -> tuple[int, dict[str, Any], str]:
    """Exit status, the last line of stdout, and stderr."""
    command = [sys.executable, "-c", "from polaris_cli.main import app; app()", "replay", str(path)]
    done = subprocess.run(
        [*command, "--state", str(state), *options], capture_output=True, text=True, timeout=170, check=False
    )
    lines = done.stdout.splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--no-hooks", "--profile", "3.13+", "--lago-store", "clickhouse"],
        ["--chaos", "11", "--lago-store", "clickhouse"],
    ],
    ids=["hooks", "polling", "chaos"],
)
def test_the_books_balance(tmp_path: Path, options: list[str]) -> None:
    path, total = write_file(tmp_path)

    status, result, errors = replay(path, tmp_path / "state", options)

    assert status == 0, errors
    assert result.pop("seconds") > 0
    assert result.pop("events") >= SESSIONS - 1
    assert result == {
        "sessions": SESSIONS,
        "energyWh": total,
        "billedWh": total,
        "unbilled": {"zero_energy": 1},
        "duplicates": 0,
        "lost": 0,
        "perDriverMismatches": 0,
    }
