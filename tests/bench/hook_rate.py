"""SteVe's two hooks under as much load as they take, against a bare FastAPI route, both in turns in one run."""

import statistics
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from polaris_cli.stack.platform import local_url
from polaris_cli.stack.ports import free_ports
from tests.bench.hooks import KEY, SAMPLES_A_BODY, Measured, at_rate, meter_values, one_after_the_other, taps
from tests.bench.installation import Bench, Installation, installation
from tests.bench.report import Figure, Target

CARDS, BOXES = 10_000, 1_000
TAP_CONNECTIONS, METER_CONNECTIONS = 32, 64
ROUNDS = 3
TAPS_A_SECOND = 200
FLOOR = "a FastAPI route that reads the body and computes the HMAC"

_CHARGERS = "INSERT INTO chargers (charge_box_id, public_id) SELECT box, box FROM unnest(CAST(:boxes AS text[])) AS box"
_TAGS = """
INSERT INTO ocpp_tags (ocpp_tag_pk, id_tag, parent_id_tag, max_active_transaction_count)
SELECT n, 'BENCH' || lpad(n::text, 6, '0'), 'META-' || n % 2000, -1 FROM generate_series(1, :cards) AS n
UNION ALL SELECT 1000000 + n, 'META-' || n, NULL, 1 FROM generate_series(0, 1999) AS n
"""
# Every other card has a mapping of its own, the others inherit their customer's.
_MAPPINGS = (
    "INSERT INTO tag_mappings (id_tag) SELECT id_tag FROM ocpp_tags WHERE ocpp_tag_pk % 2 = 0 OR id_tag ~ 'META'"
)
_RESERVATIONS = """
INSERT INTO reservations (charge_box_id, connector_id, ocpp_tag_pk, id_tag, start_at, end_at)
SELECT charge_box_id, 1, 1, 'NOBODY', now() + interval '1 day', now() + interval '2 days' FROM chargers
"""


async def taps_rate(bench: Bench) -> Sequence[Figure]:
    """Taps of 10,000 cards on 1,000 chargers: as many as go over 32 connections, and 200 a second."""
    async with _hooks(bench, "taps") as (site, ours, bare):
        requests, seconds = taps(CARDS, BOXES), bench.size(5, 1)
        both: dict[int, list[Measured]] = {ours: [], bare: []}
        for _ in range(ROUNDS):
            for port, measured in both.items():
                load = one_after_the_other(port, requests, seconds=seconds, connections=TAP_CONNECTIONS)
                measured.append(await load)
        paced = {
            port: await at_rate(port, requests, per_second=TAPS_A_SECOND, seconds=bench.size(10, 2)) for port in both
        }
        if not await site.count("SELECT count(*) FROM tap_decisions WHERE reason = 'no_objection'"):
            raise RuntimeError("nothing was decided")
    rate, floor = (statistics.median(each.per_second for each in measured) for measured in both.values())
    return [
        Figure("pre-authorize", "1/s", rate, Target(at_least_of_floor=0.5), floor, FLOOR, _details(both[ours])),
        Figure(
            "pre-authorize p99 at 200/s", "ms", paced[ours].p99_ms, Target(at_most=15), paced[bare].p99_ms, FLOOR,
            _details([paced[ours]]),
        ),
    ]  # fmt: skip


async def samples_rate(bench: Bench) -> Sequence[Figure]:
    """Durable samples: as many as one gateway process takes, all counted in the database afterwards."""
    async with _hooks(bench, "samples") as (site, ours, bare):
        seconds, bodies = bench.size(8, 2), meter_values(bench.size(80_000, 24_000))
        floor = await one_after_the_other(bare, bodies, seconds=seconds, connections=METER_CONNECTIONS)
        stored = await one_after_the_other(ours, iter(bodies), seconds=seconds, connections=METER_CONNECTIONS)
        durable = await site.count("SELECT count(*) FROM meter_readings")
        if durable < stored.per_second * seconds * SAMPLES_A_BODY or durable > len(bodies) * SAMPLES_A_BODY:
            raise RuntimeError(f"{durable} samples were stored, {stored.per_second:.0f} bodies a second were answered")
    rate, bare_rate = stored.per_second * SAMPLES_A_BODY, floor.per_second * SAMPLES_A_BODY
    details = _details([stored])
    return [
        Figure("meter-values", "samples/s", rate, Target(at_least=5_000), bare_rate, FLOOR, details),
        Figure("meter-values p99", "ms", stored.p99_ms, Target(at_most=50), floor.p99_ms, FLOOR, details),
    ]


@asynccontextmanager
async def _hooks(bench: Bench, name: str) -> AsyncIterator[tuple[Installation, int, int]]:
    """An installation whose gateway runs, with its port and the bare route's."""
    keys = {"STEVE_PREAUTH_HMAC_KEY": KEY, "STEVE_METERVALUE_HMAC_KEY": KEY}
    async with installation(bench, name, extra=keys) as site:
        await site.execute(_CHARGERS, boxes=[f"CP-{number:04d}" for number in range(BOXES)])
        await site.execute(_TAGS, cards=CARDS)
        await site.execute(_MAPPINGS)
        await site.execute(_RESERVATIONS)
        (port,) = free_ports(1)
        site.platform.supervisor.start("bare", [sys.executable, "-m", "tests.bench.bare_hook", str(port)])
        site.platform.start_service("gateway")
        gateway = site.platform.ports.gateway
        await site.platform.wait_for(f"{local_url(gateway)}/readyz", f"{local_url(port)}/readyz")
        yield site, gateway, port


def _details(rounds: Sequence[Measured]) -> dict[str, float]:
    return {
        "failed": sum(each.failed for each in rounds),
        "p50Ms": statistics.median(each.p50_ms for each in rounds),
        "p99Ms": statistics.median(each.p99_ms for each in rounds),
        "generatorBusy": max(each.generator_busy for each in rounds),
    }
