"""SteVe's two hooks under as much load as they take, against a bare FastAPI route."""

import sys
from collections.abc import Sequence
from typing import Any

from polaris_cli.stack.platform import local_url
from polaris_cli.stack.ports import free_ports
from tests.bench.hooks import KEY
from tests.bench.hooks import measure as under_load
from tests.bench.installation import Bench, installation
from tests.bench.report import Figure, Target

CONNECTIONS = 128
HOOKS = {"pre-authorize": Target(at_least_of_floor=0.4), "meter-values": Target(at_least_of_floor=0.3)}
"""Meter values are answered when they are durable; the bare route stores nothing."""


async def measure(bench: Bench) -> Sequence[Figure]:
    """Each hook and the bare route in turn, with the same bodies."""
    keys = {"STEVE_PREAUTH_HMAC_KEY": KEY, "STEVE_METERVALUE_HMAC_KEY": KEY}
    async with installation(bench, "hooks", extra=keys) as site:
        (port,) = free_ports(1)
        site.platform.supervisor.start("bare", [sys.executable, "-m", "tests.bench.bare_hook", str(port)])
        site.platform.start_service("gateway")
        gateway = site.platform.ports.gateway
        await site.platform.wait_for(f"{local_url(gateway)}/readyz", f"{local_url(port)}/readyz")
        return [_figure(hook, await _load(bench, gateway, hook), await _load(bench, port, hook)) for hook in HOOKS]


async def _load(bench: Bench, port: int, hook: str) -> dict[str, Any]:
    return await under_load(port, f"/api/ocpp/{hook}", seconds=bench.size(8, 2), connections=CONNECTIONS)


def _figure(hook: str, ours: dict[str, Any], bare: dict[str, Any]) -> Figure:
    details = {"failed": ours["failed"], "p50Ms": ours["p50Ms"], "p99Ms": ours["p99Ms"], "bareP99Ms": bare["p99Ms"]}
    what = "a FastAPI route that reads the body and computes the HMAC"
    rate, floor = float(ours["requestsPerSecond"]), float(bare["requestsPerSecond"])
    return Figure(hook, "1/s", rate, HOOKS[hook], floor, what, details)
