"""Events per second through the sender, against plain POSTs of the same batches to the same simulator."""

import statistics
import time
from collections.abc import Sequence

from tests.bench.floor import post_batches
from tests.bench.installation import Bench, Installation, installation
from tests.bench.population import batches_of, fill, populate
from tests.bench.report import Figure, Target

EVENTS = 10_000
DRIVERS = 1_000
ROUNDS = 5
SHARE = Target(at_least_of_floor=0.4)

_DUE = """
UPDATE lago_events SET next_attempt_at = now() WHERE id IN (
    SELECT id FROM lago_events WHERE status = 'pending' ORDER BY id LIMIT :events) RETURNING body
"""


async def measure(bench: Bench) -> Sequence[Figure]:
    """Events that wait, until none does; sender and floor in turn, the medians are compared."""
    events = bench.size(EVENTS, 2_000)
    ours, floors = [], []
    async with installation(bench, "sender_rate") as site, site.workers() as workers:
        await populate(site, drivers=DRIVERS)
        await workers.mirror.refresh()
        await fill(site, ROUNDS * events, billed=False, cards=DRIVERS)
        await workers.ledger.bill_due()
        await site.execute("UPDATE lago_events SET next_attempt_at = 'infinity'")
        for number in range(1, ROUNDS + 1):
            due = [row.body for row in await site.rows(_DUE, events=events)]
            before = await _floor(site, due, "before")
            began = time.perf_counter()
            await workers.sender.send_due()
            ours.append(events / (time.perf_counter() - began))
            await site.expect("SELECT count(*) FROM lago_events WHERE status = 'delivered'", number * events)
            floors.append(2 * events / (before + await _floor(site, due, "after")))
    what = "POST of the same batches of 100 with a plain client, one after the other"
    rate, floor = statistics.median(ours), statistics.median(floors)
    return [Figure("events_per_second", "1/s", rate, SHARE, floor, what, {"slowest": min(ours), "fastest": max(ours)})]


async def _floor(site: Installation, due: Sequence[str], name: str) -> float:
    """The same texts under other transaction ids, or Lago would know them."""
    bodies = [body.replace("steve_tx_", f"{name}_", 1) for body in due]
    return await post_batches(site.platform.lago_url, site.lago_key, batches_of(bodies))
