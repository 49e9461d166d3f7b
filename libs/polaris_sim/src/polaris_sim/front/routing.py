"""Which service answers a path: as the reverse proxy of production routes."""

from enum import StrEnum


class Backend(StrEnum):
    """Who answers."""

    GATEWAY = "gateway"
    NOTIFIER = "notifier"


_GATEWAY_PREFIXES = ("/api", "/auth", "/.well-known", "/app", "/c", "/u", "/m", "/docs")
_GATEWAY_PATHS = frozenset({"/openapi.json", "/livez", "/readyz", "/healthz"})
_STREAMS = ("/api/stream/", "/api/admin/stream/")
_STREAM_ENDINGS = ("-stream", "/stream", "/scan-detect")


def backend_of(path: str) -> Backend | None:
    """The service for ``path``; None where the front itself must answer."""
    if not (
        path in _GATEWAY_PATHS or any(path == prefix or path.startswith(f"{prefix}/") for prefix in _GATEWAY_PREFIXES)
    ):
        return None
    return Backend.NOTIFIER if path.startswith(_STREAMS) or path.endswith(_STREAM_ENDINGS) else Backend.GATEWAY
