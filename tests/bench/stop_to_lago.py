"""From a stop at SteVe to the event that Lago has accepted, at 20 sessions a second, every service a process."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

from polaris_cli.seed import post
from polaris_cli.stack.platform import SERVICES, local_url
from tests.bench.floor import post_batches
from tests.bench.installation import Bench, Installation, installation
from tests.bench.population import box, card, populate
from tests.bench.report import Figure, Target

PER_SECOND = 20
CHARGES_SECONDS = 5
WH = 100
DRIVERS = 1_000
SECONDS = Target(at_most=2)
GIVE_UP_SECONDS = 60
QUIET_SECONDS = 6
"""Longer than a stop is looked for after a session's last samples."""
STOP_AFTER_SAMPLES_SECONDS = 0.2

_DELIVERED = """
SELECT s.steve_transaction_id AS transaction_id, extract(epoch FROM e.delivered_at)::float8 AS at
FROM lago_events AS e JOIN energy_slices AS a ON a.id = e.slice_id JOIN charging_sessions AS s ON s.id = a.session_id
WHERE e.status = 'delivered'
"""


async def measure(bench: Bench) -> Sequence[Figure]:
    """Sessions begin for so many seconds, each ends five seconds later; counted are those that end while others begin.

    The stop is timed before SteVe hears of it, the acceptance when we have noted it: both in our disfavour.
    """
    seconds = bench.size(30, 8)
    async with installation(bench, "stop_to_lago", hooks=True) as site:
        await _start(site)
        stops: dict[int, float] = {}
        beginning = time.time()
        async with asyncio.TaskGroup() as group:
            for number in range(PER_SECOND * (seconds + CHARGES_SECONDS)):
                await asyncio.sleep(max(0.0, beginning + number / PER_SECOND - time.time()))
                group.create_task(_session(site, number, stops, counted=number < PER_SECOND * seconds))
        accepted = await _accepted(site, stops)
        latencies = sorted(accepted[transaction] - at for transaction, at in stops.items())
        lone = [await _lone_stop(site, number) for number in range(bench.size(7, 3))]
        floor = await _floor(site)
    p99 = latencies[int(len(latencies) * 0.99)]
    details = {"sessions": len(latencies), "p50": latencies[len(latencies) // 2], "max": latencies[-1]}
    what = "POST of one event with a plain client"
    return [
        Figure("p99", "s", p99, SECONDS, floor, what, details),
        Figure("lone_stop", "s", statistics.median(lone), SECONDS, floor, what, {"max": max(lone)}),
    ]


async def _start(site: Installation) -> None:
    await populate(site, drivers=DRIVERS)
    for name in SERVICES:
        site.platform.start_service(name)
    await site.platform.wait_for(f"{local_url(site.platform.ports.gateway)}/readyz")
    while not await site.count(
        "SELECT count(*) FROM component_health WHERE component = 'lago_mirror'"
    ) or not await site.count("SELECT count(*) FROM sync_runs WHERE status = 'completed'"):
        site.platform.supervisor.check()
        await asyncio.sleep(0.1)


async def _lone_stop(site: Installation, number: int) -> float:
    """One session on a site where nothing else happens; its stop reaches SteVe a little after its last samples."""
    steve, first = f"{site.platform.steve_url}/_sim/transactions", 10**9 + number * WH
    start = {"chargeBoxId": box(number), "idTag": card(number), "startValue": str(first)}
    transaction = (await post(site.http, steve, start))["transactionId"]
    await post(site.http, f"{steve}/{transaction}/meter-values", _samples(first, "Transaction.Begin"))
    await asyncio.sleep(QUIET_SECONDS)
    await post(site.http, f"{steve}/{transaction}/meter-values", _samples(first + WH, "Transaction.End"))
    await asyncio.sleep(STOP_AFTER_SAMPLES_SECONDS)
    stops = {transaction: time.time()}
    stop = {"stopValue": str(first + WH), "reason": "EVDisconnected"}
    await post(site.http, f"{steve}/{transaction}/stop", stop)
    return (await _accepted(site, stops))[transaction] - stops[transaction]


async def _session(site: Installation, number: int, stops: dict[int, float], *, counted: bool) -> None:
    """A car charges for five seconds; its station measures at the start and at the end."""
    steve = f"{site.platform.steve_url}/_sim/transactions"
    start = {"chargeBoxId": box(number % 500), "idTag": card(number % DRIVERS), "startValue": str(number * WH)}
    transaction = (await post(site.http, steve, start))["transactionId"]
    await post(site.http, f"{steve}/{transaction}/meter-values", _samples(number * WH, "Transaction.Begin"))
    if not counted:
        return
    await asyncio.sleep(CHARGES_SECONDS)
    end = (number + 1) * WH
    await post(site.http, f"{steve}/{transaction}/meter-values", _samples(end, "Transaction.End"))
    stops[transaction] = time.time()
    await post(site.http, f"{steve}/{transaction}/stop", {"stopValue": str(end), "reason": "EVDisconnected"})


def _samples(wh: int, context: str) -> dict[str, Any]:
    sample = {"value": str(wh), "measurand": "Energy.Active.Import.Register", "unit": "Wh", "context": context}
    return {"samples": [sample]}


async def _accepted(site: Installation, stops: dict[int, float]) -> dict[int, float]:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while True:
        site.platform.supervisor.check()
        accepted = {row.transaction_id: row.at for row in await site.rows(_DELIVERED)}
        if not stops.keys() - accepted.keys():
            return accepted
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(stops.keys() - accepted.keys())} of {len(stops)} stops did not reach Lago")
        await asyncio.sleep(0.2)


async def _floor(site: Installation) -> float:
    body = (await site.rows("SELECT body FROM lago_events LIMIT 1"))[0].body
    bodies = [[body.replace("steve_tx_", f"floor_{number}_", 1)] for number in range(100)]
    return await post_batches(site.platform.lago_url, site.lago_key, bodies) / len(bodies)
