"""Health on the wire (contract §10.1)."""

from enum import StrEnum

from gateway.wire import Wire, WireTime


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
    redis: Check


class HealthRead(Wire):
    """The platform's health at ``timestamp``."""

    status: Status
    timestamp: str
    checks: Checks


class SettingRead(Wire):
    """One variable: ``set``, ``default``, ``missing`` or ``unusable``; never its value."""

    name: str
    state: str


class ComponentRead(Wire):
    """What a worker last said about something it watches."""

    name: str
    status: Status
    error: str | None
    """A code."""
    checked_at: WireTime
    last_success_at: WireTime | None


class QueueRead(Wire):
    """What waits for something to be done."""

    name: str
    waiting: int
    oldest_seconds: int | None
    failed: int
    """Given up; an operator decides."""


class AdminHealthRead(Wire):
    """The platform's health with what an operator needs to find out why."""

    status: Status
    timestamp: str
    checks: Checks
    subsystems: dict[str, bool]
    """Whether each found its configuration."""
    settings: list[SettingRead]
    components: list[ComponentRead]
    queues: list[QueueRead]
