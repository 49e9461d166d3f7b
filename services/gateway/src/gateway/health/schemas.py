"""Health on the wire (contract §10.1)."""

from enum import StrEnum

from gateway.wire import Wire


class Status(StrEnum):
    """How well something does; the worst check is the whole answer's."""

    OK = "ok"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class Check(Wire):
    """One thing that was looked at; ``error`` is a code, never a message."""

    status: Status
    latency_ms: float | None = None
    error: str | None = None
    last_run: str | None = None
    last_success_at: str | None = None


class Checks(Wire):
    """Everything that was looked at."""

    database: Check
    steve: Check
    lago: Check
    sync: Check


class HealthRead(Wire):
    """The platform's health at ``timestamp``."""

    status: Status
    timestamp: str
    checks: Checks
