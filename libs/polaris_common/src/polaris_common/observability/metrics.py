"""``/metrics`` for Prometheus, on a port of its own: without ``METRICS_PORT`` a process shows its figures to nobody."""

import asyncio
import hmac
import socket
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from polaris_common.db import Database
from polaris_common.process import StartupError
from polaris_common.settings import Settings

FRESH_SECONDS = 10.0
"""Figures of the database are read again when they are older than this, however often somebody scrapes."""

READ_TIMEOUT_SECONDS = 5.0

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Figure:
    """A gauge that comes from the database: ``sql`` answers ``value``, and a column named like the label if any."""

    name: str
    documentation: str
    sql: str
    label: str | None = None

    def family(self, rows: Iterable[Sequence[object]]) -> GaugeMetricFamily:
        """The gauge with what the query answered: (label, value) in each row."""
        family = GaugeMetricFamily(self.name, self.documentation, labels=[self.label] if self.label else [])
        for label, value in rows:
            family.add_metric([str(label)] if self.label else [], float(str(value)))
        return family


class DatabaseFigures(Collector):
    """Gauges read in one statement and kept for a while. What cannot be read is left out: unknown is not zero."""

    def __init__(self, database: Database, figures: Sequence[Figure]) -> None:
        self._database, self._figures = database, figures
        self._query = text(
            " UNION ALL ".join(
                f"SELECT '{each.name}', {f'{each.label}::text' if each.label else 'NULL'}, value::float8"  # noqa: S608 - ours
                f" FROM ({each.sql}) AS figure_{number}"
                for number, each in enumerate(figures)
            )
        )
        self._read_at: float | None = None
        self._families: list[GaugeMetricFamily] = []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What ``refresh`` has read last."""
        yield from self._families

    async def refresh(self) -> None:
        """Read again what is no longer fresh."""
        if self._read_at is not None and time.monotonic() - self._read_at < FRESH_SECONDS:
            return
        self._read_at = time.monotonic()
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS), self._database.glance() as uow:
                rows = (await uow.execute(self._query)).all()
        except (OSError, TimeoutError, SQLAlchemyError) as error:
            self._families = []
            log.warning("figures_not_read", error=type(error).__name__)
            return
        self._families = [each.family([row[1:] for row in rows if row[0] == each.name]) for each in self._figures]


def metrics_app(
    figures: DatabaseFigures | None, *, token: str | None = None, registry: CollectorRegistry = REGISTRY
) -> ASGIApp:
    """An application with ``/metrics`` alone; with a ``token`` only for who sends it as a bearer token."""

    async def metrics(request: Request) -> Response:
        if token is not None and not _is_bearer(request, token):
            return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
        own = b""
        if figures is not None:
            await figures.refresh()
            of_database = CollectorRegistry(auto_describe=False)
            of_database.register(figures)
            own = generate_latest(of_database)
        return Response(generate_latest(registry) + own, media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/metrics", metrics)])


def metrics_server(settings: Settings, figures: DatabaseFigures | None = None) -> Coroutine[Any, Any, None]:
    """What serves until it is cancelled; it is over at once where no ``METRICS_PORT`` is set.

    Raises:
        StartupError: the port is taken or the address is not ours.
    """
    if settings.metrics_port is None:
        return asyncio.sleep(0)
    try:
        listening = socket.create_server((settings.metrics_host, settings.metrics_port))
    except OSError as error:
        where = f"{settings.metrics_host}:{settings.metrics_port} (METRICS_HOST, METRICS_PORT)"
        raise StartupError(f"Figures cannot be shown on {where}: {error.strerror}.") from error
    token = settings.metrics_token.get_secret_value() if settings.metrics_token is not None else None
    config = uvicorn.Config(
        metrics_app(figures, token=token),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    return _Server(config).serve(sockets=[listening])


class _Server(uvicorn.Server):
    """Leaves the signals to the process that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _is_bearer(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "")
    return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
