"""A run and a refresh of Lago's mirror where nothing has happened: 10,000 tags, 1,000 customers, 10,000 sessions."""

import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tests.bench.floor import get_all
from tests.bench.installation import Bench, Installation, installation
from tests.bench.population import charge, populate
from tests.bench.report import Figure, Target

TAGS, DRIVERS, SESSIONS = 10_000, 1_000, 10_000
ROUNDS = 5
SECONDS = Target(at_most=1)
OLD = timedelta(days=3)
"""Older than what the report by stop time shows in every run."""


async def measure(bench: Bench) -> Sequence[Figure]:
    """The median of several rounds."""
    drivers = bench.size(DRIVERS, 100)
    async with installation(bench, "nothing_new") as site, site.workers() as workers:
        await populate(site, drivers=drivers, cards=bench.size(TAGS, 1_000))
        await charge(site, bench.size(SESSIONS, 1_000), cards=drivers, before=datetime.now(UTC) - OLD)
        await workers.mirror.refresh()
        await workers.run()
        await workers.ledger.bill_due()
        await workers.sender.send_due()
        runs, refreshes, floors = [], [], []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            await workers.run()
            ran = time.perf_counter()
            await workers.mirror.refresh()
            runs.append(ran - began)
            refreshes.append(time.perf_counter() - ran)
            floors.append(await _floor(site, drivers))
        await site.expect("SELECT count(*) FROM sync_runs WHERE status <> 'completed' OR transactions_new > 0", 1)
    total = statistics.median(run + refresh for run, refresh in zip(runs, refreshes, strict=True))
    details = {"run": statistics.median(runs), "mirror": statistics.median(refreshes), "slowest_run": max(runs)}
    what = "GET the same lists and pages and read their JSON"
    return [Figure("seconds", "s", total, SECONDS, statistics.median(floors), what, details)]


async def _floor(site: Installation, drivers: int) -> float:
    steve, lago = f"{site.platform.steve_url}/steve/api/v1", f"{site.platform.lago_url}/api/v1"
    pages = range(1, drivers // 100 + 1)
    seconds = await get_all(
        [f"{steve}/ocppTags", f"{steve}/transactions?type=ACTIVE", f"{steve}/chargeBoxes"], auth=site.steve_auth
    )
    return seconds + await get_all(
        [f"{lago}/{kind}?per_page=100&page={page}" for kind in ("subscriptions", "customers") for page in pages],
        key=site.lago_key,
    )
