"""Sessions per second through the ledger, against COPY of the rows that it wrote."""

import statistics
import time
from collections.abc import Sequence

from tests.bench.floor import copy_tables, read_tables
from tests.bench.installation import Bench, Installation, installation
from tests.bench.population import clear_sessions, fill, populate
from tests.bench.report import Figure, Target

SESSIONS = 20_000
DRIVERS = 1_000
ROUNDS = 5
SHARE = Target(at_least_of_floor=0.4)
_WRITTEN = ("energy_slices", "lago_events", "session_billing")


async def measure(bench: Bench) -> Sequence[Figure]:
    """Settled sessions, one slice each, until none is due; ledger and floor in turn, the medians are compared."""
    sessions = bench.size(SESSIONS, 2_000)
    ours, floors = [], []
    async with installation(bench, "ledger_rate") as site, site.workers() as workers:
        await populate(site, drivers=DRIVERS)
        await workers.mirror.refresh()
        for _ in range(ROUNDS):
            await clear_sessions(site)
            await fill(site, sessions, billed=False, cards=DRIVERS)
            began = time.perf_counter()
            await workers.ledger.bill_due()
            ours.append(sessions / (time.perf_counter() - began))
            await site.expect("SELECT count(*) FROM lago_events", sessions)
            await site.expect("SELECT count(*) FROM charging_sessions WHERE billed_revision < revision", 0)
            floors.append(sessions / await _floor(bench, site))
    what = "COPY of the slices, events and decisions into the same tables"
    rate, floor = statistics.median(ours), statistics.median(floors)
    return [
        Figure("sessions_per_second", "1/s", rate, SHARE, floor, what, {"slowest": min(ours), "fastest": max(ours)})
    ]


async def _floor(bench: Bench, site: Installation) -> float:
    rows = await read_tables(site.platform.database_url, ["users", "tag_mappings", "charging_sessions", *_WRITTEN])
    written = {table: rows.pop(table) for table in _WRITTEN}
    target = await bench.migrated_database("ledger_rate_floor")
    await copy_tables(target, rows)
    return await copy_tables(target, written)
