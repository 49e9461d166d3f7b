"""Which of the two surfaces a request is on. It follows from the Host header and decides which API exists there.

Unknown hosts and the other surface's API do not exist: 404.
"""

from collections.abc import Mapping
from enum import StrEnum

from starlette.types import Scope

from polaris_common.http.errors import NotFound
from polaris_common.http.hosts import host_name
from polaris_common.settings import IdentitySettings


class Surface(StrEnum):
    """The two faces of the platform."""

    ADMIN = "admin"
    CUSTOMER = "customer"


ON_ANY_HOST = frozenset({"/api/health", "/healthz", "/livez", "/readyz"})
"""Called by containers and load balancers by an internal name."""

_OF_ONE_SURFACE = {
    "/api/admin": Surface.ADMIN,
    "/api/events": Surface.ADMIN,
    "/api/customer": Surface.CUSTOMER,
    "/api/stream/customer": Surface.CUSTOMER,
}


class Surfaces:
    """The rule, over the configured host names."""

    def __init__(self, settings: IdentitySettings) -> None:
        self._by_host = dict.fromkeys(settings.admin_hosts, Surface.ADMIN)
        self._by_host |= dict.fromkeys(settings.customer_hosts, Surface.CUSTOMER)

    def place(self, scope: Scope) -> Surface | None:
        """Put the surface (or None, where any host will do) into the request's state, and return it.

        Raises:
            NotFound: the host is not ours, or has no such path.
        """
        path = scope["path"]
        surface = self._by_host.get(host_name(only_header(scope["headers"], b"host") or ""))
        if (surface is None and path not in ON_ANY_HOST) or not _exists_on(surface, path):
            raise NotFound
        scope.setdefault("state", {})["surface"] = surface
        return surface


def surface_of(state: Mapping[str, object]) -> Surface | None:
    """The surface that ``Surfaces.place`` found."""
    surface = state.get("surface")
    return surface if isinstance(surface, Surface) else None


def only_header(headers: list[tuple[bytes, bytes]], wanted: bytes) -> str | None:
    """The header's value; None without it, and when it is there twice."""
    values = [value for name, value in headers if name == wanted]
    return values[0].decode("latin-1") if len(values) == 1 else None


def _exists_on(surface: Surface | None, path: str) -> bool:
    for prefix, owner in _OF_ONE_SURFACE.items():
        if path == prefix or path.startswith(prefix + "/"):
            return surface is owner
    return True
