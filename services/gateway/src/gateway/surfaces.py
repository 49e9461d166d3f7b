"""Whether a request is on one of our surfaces, and whether a browser may change anything from where it comes.

A request that changes something and carries cookies must say that it comes from one of our own pages (contract §1.6).
"""

import re
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.limits import ORIGIN_MISMATCH_AUDIT
from gateway.settings import GatewaySettings
from polaris_common.http.client_address import site_of
from polaris_common.http.errors import ApiError, Forbidden, NotFound, error_response
from polaris_common.http.hosts import host_name
from polaris_common.http.surfaces import Surfaces, only_header
from polaris_common.identity.audit import AuditEvent, Origin


class OriginMismatch(Forbidden):
    """A page that is not ours tries to change something."""

    code, message = "origin_mismatch", "This request does not come from one of our pages."


HOOKS = ("/api/ocpp", "/api/webhook")
"""Called by SteVe and Lago with a signature over the body: on any host, without cookies, without an origin."""

APP_SIGN_IN = frozenset({"/api/auth/qr-sign-in", "/api/auth/magic-link/verify", "/api/devices/register"})
"""Called by the app, which sends cookies that it got here before and no origin; a page's origin is checked."""

_DEVICE_ROUTE = re.compile(
    r"/api/devices(/.*)?|/api/admin/devices/[^/]+/(start|stop|cancel-reservation|session|tags|customers|reservations)"
)

_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


class SurfaceMiddleware:
    """Puts ``surface`` (or None, where any host will do) into the request's state, or answers 404 or 403."""

    def __init__(self, app: ASGIApp, *, settings: GatewaySettings) -> None:
        self._app = app
        self._surfaces = Surfaces(settings)
        ours = map(origin_of, (settings.admin_base_url, settings.customer_base_url))
        self._origins = frozenset({*ours, *settings.cors_origins})
        self._extra_hosts = frozenset(map(str.lower, (*settings.admin_extra_hosts, *settings.customer_extra_hosts)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and not is_hook(scope["path"]):
            refusal = self._refusal(scope)
            if refusal is not None:
                if refusal is OriginMismatch:
                    await _write_down(scope)
                await _answer(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> type[ApiError] | None:
        path, headers = scope["path"], scope["headers"]
        try:
            self._surfaces.place(scope)
        except NotFound:
            return NotFound
        if scope["method"] in _CHANGING and not is_for_devices(path) and not self._from_our_pages(path, headers):
            return OriginMismatch
        return None

    def _from_our_pages(self, path: str, headers: list[tuple[bytes, bytes]]) -> bool:
        names = {name for name, _ in headers}
        if b"origin" not in names:
            return b"cookie" not in names or path in APP_SIGN_IN
        origin = (only_header(headers, b"origin") or "").rstrip("/").lower()
        return origin in self._origins or host_name(origin.partition("://")[2]) in self._extra_hosts


def is_hook(path: str) -> bool:
    """Whether ``path`` belongs to the signed hooks of SteVe or Lago."""
    return any(path == hook or path.startswith(f"{hook}/") for hook in HOOKS)


def is_for_devices(path: str) -> bool:
    """Whether ``path`` takes a bearer token and nothing else (contract-devices §1.2): no browser sends one unasked."""
    return path not in APP_SIGN_IN and _DEVICE_ROUTE.fullmatch(path) is not None


def origin_of(base_url: str) -> str:
    """The Origin header that browsers send for pages under ``base_url``."""
    parts = urlsplit(base_url.lower())
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{port}"


async def _write_down(scope: Scope) -> None:
    """Audit a foreign page's try, a few times a minute at most for one address."""
    process = scope["app"].state.resources
    address = scope["client"][0] if scope.get("client") else None
    user_agent = only_header(scope["headers"], b"user-agent")
    try:
        await process.limits.spend(ORIGIN_MISMATCH_AUDIT, site_of(address))
        async with process.database.unit_of_work() as uow:
            details = {"reason": "origin_mismatch", "method": scope["method"]}
            await process.audit.record(uow, AuditEvent.PRIVILEGE_VIOLATION, Origin(address, user_agent), **details)
    except (ApiError, OSError, SQLAlchemyError):
        return  # the refusal stands all the same


def _answer(refusal: type[ApiError]) -> JSONResponse:
    return error_response(refusal.status, refusal.code, refusal.message)
