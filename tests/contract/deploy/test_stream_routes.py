"""Every stream is reached: Caddy and the demo's front send each of the notifier's paths to the notifier."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from fastapi import APIRouter
from fastapi.routing import APIRoute

from gateway.app import ROUTERS as GATEWAYS
from notifier.scan_detect.endpoints import router as scan_detect
from notifier.scan_stream.endpoints import router as scan_stream
from notifier.stream.endpoints import customers, operators
from polaris_sim.front.routing import Backend, backend_of

CADDYFILE = Path(__file__).parents[3] / "deploy" / "caddy" / "Caddyfile"
(PATTERNS,) = (line.split()[2:] for line in CADDYFILE.read_text().splitlines() if "@streams path" in line)


def _paths(routers: Iterable[APIRouter]) -> Iterator[str]:
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                yield route.path


STREAMS = list(_paths([customers, operators, scan_stream, scan_detect]))


def _caddy_sends_to_the_notifier(path: str) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in PATTERNS)


def test_the_proxies_send_every_stream_to_the_notifier() -> None:
    assert len(STREAMS) >= 8
    assert [path for path in STREAMS if not _caddy_sends_to_the_notifier(path)] == []
    assert [path for path in STREAMS if backend_of(path) is not Backend.NOTIFIER] == []


def test_the_proxies_keep_nothing_from_the_gateway() -> None:
    calls = [path for path in _paths(GATEWAYS) if path.startswith("/api")]
    assert [path for path in calls if _caddy_sends_to_the_notifier(path)] == []
    assert [path for path in calls if backend_of(path) is not Backend.GATEWAY] == []
