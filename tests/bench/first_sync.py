"""The first sync of a SteVe with 100,000 transactions, by a sync-worker process of its own."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.floor import copy_tables, get_all, read_tables
from tests.bench.installation import Bench, Installation, installation
from tests.bench.population import charge, populate
from tests.bench.report import Figure, Target

TRANSACTIONS = 100_000
DRIVERS = 1_000
SECONDS = Target(at_most=40)
MEBIBYTES = Target(at_most=300)

_BARE = "import sync_worker.__main__; print(open('/proc/self/status').read())"


async def measure(bench: Bench) -> Sequence[Figure]:
    """From the start of the process to the end of its first run, and the most memory it had by then."""
    transactions = bench.size(TRANSACTIONS, 10_000)
    async with installation(bench, "first_sync", extra={"SYNC_LIVE_POLL_SECONDS": "0"}) as site:
        await populate(site, drivers=DRIVERS)
        await charge(site, transactions, cards=DRIVERS)
        began = time.perf_counter()
        site.platform.start_service("sync-worker")
        while not await site.count("SELECT count(*) FROM sync_runs WHERE status = 'completed'"):
            site.platform.supervisor.check()
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - began
        worker = next(child for child in site.platform.supervisor.children if child.name == "sync-worker")
        memory = _peak_mebibytes(Path(f"/proc/{worker.pid}/status").read_text())  # noqa: ASYNC240
        await site.expect("SELECT count(*) FROM charging_sessions WHERE state = 'settled'", transactions)
        floor = await _floor(bench, site)
    bare = subprocess.run([sys.executable, "-c", _BARE], capture_output=True, text=True, check=True)  # noqa: ASYNC221
    return [
        Figure("seconds", "s", seconds, SECONDS, floor, "GET the whole table in one piece, COPY the rows"),
        Figure("peak_rss", "MiB", memory, MEBIBYTES, _peak_mebibytes(bare.stdout), "the process without work"),
    ]


async def _floor(bench: Bench, site: Installation) -> float:
    url = f"{site.platform.steve_url}/steve/api/v1/transactions?type=ALL&periodType=ALL"
    seconds = await get_all([url], auth=site.steve_auth)
    rows = await read_tables(site.platform.database_url, ["users", "tag_mappings", "charging_sessions"])
    target = await bench.migrated_database("first_sync_floor")
    sessions = {"charging_sessions": rows.pop("charging_sessions")}
    await copy_tables(target, rows)
    return seconds + await copy_tables(target, sessions)


def _peak_mebibytes(status: str) -> float:
    """From the text of ``/proc/PID/status``: the kernel's own high-water mark."""
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
