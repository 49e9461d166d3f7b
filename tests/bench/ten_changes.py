"""Ten sessions end: how much longer their way takes with 1,000,000 stored sessions than with 10,000."""

import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.bench.installation import Bench, Installation, Workers, installation
from tests.bench.population import fill, populate, session, tell_steve
from tests.bench.report import Figure, Target

MANY, FEW = 1_000_000, 10_000
CHANGES, ROUNDS, WARM = 10, 9, 2
DRIVERS = 1_000
TIMES = Target(at_most_of_floor=1.5)


@dataclass
class _Side:
    site: Installation
    workers: Workers
    stops: list[dict[str, Any]]
    seconds: list[float] = field(default_factory=list)

    async def change(self) -> None:
        """Ten sessions end; a run, the ledger and the sender."""
        stops, self.stops = self.stops[:CHANGES], self.stops[CHANGES:]
        await tell_steve(self.site, stops)
        began = time.perf_counter()
        await self.workers.run()
        await self.workers.ledger.bill_due()
        await self.workers.sender.send_due()
        self.seconds.append(time.perf_counter() - began)


async def measure(bench: Bench) -> Sequence[Figure]:
    """The two side by side, round by round; the medians are compared."""
    many = bench.size(MANY, 50_000)
    async with AsyncExitStack() as stack:
        sides = [await _side(stack, bench, name, count) for name, count in (("few", FEW), ("many", many))]
        for _ in range(WARM + ROUNDS):
            for side in sides:
                await side.change()
        for side in sides:
            await side.site.expect(
                "SELECT count(*) FROM lago_events WHERE status = 'delivered' AND body LIKE '{%'",
                CHANGES * (WARM + ROUNDS),
            )
    few, most = (statistics.median(side.seconds[WARM:]) for side in sides)
    details = {"stored": many, "stored_floor": FEW}
    return [Figure("seconds", "s", most, TIMES, few, f"the same with {FEW:,} stored sessions", details)]


async def _side(stack: AsyncExitStack, bench: Bench, name: str, count: int) -> _Side:
    site = await stack.enter_async_context(installation(bench, f"ten_changes_{name}"))
    workers = await stack.enter_async_context(site.workers())
    await populate(site, drivers=DRIVERS)
    now = datetime.now(UTC)
    pairs = [session(number, cards=DRIVERS, boxes=500, before=now) for number in range(CHANGES * (WARM + ROUNDS))]
    await tell_steve(site, [start for start, _ in pairs])
    await workers.mirror.refresh()
    await workers.run()  # reads SteVe's whole table; from here on only what changed is asked for
    await fill(site, count, billed=True, cards=DRIVERS)
    return _Side(site, workers, [stop for _, stop in pairs])
