"""The front as an ASGI application: pages at ``/`` by host, everything else to the services."""

import json
from dataclasses import dataclass
from importlib.resources import files

from starlette.types import ASGIApp, Receive, Scope, Send

from polaris_sim.front.proxy import Proxy, answer_error
from polaris_sim.front.routing import backend_of

_POLICY = b"default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self'; connect-src 'self'; img-src data:"


@dataclass(frozen=True)
class FrontSettings:
    """What the pages show, and the two hosts."""

    customer_host: str = "polaris.localhost"
    admin_host: str = "manage.polaris.localhost"
    mailbox: str = ""
    driver_email: str = ""
    driver_password: str = ""
    operator_email: str = ""
    operator_password: str = ""
    """Put into the sign-in forms of the demo pages."""


class Front:
    """One request at a time: a page, or a service."""

    def __init__(self, proxy: Proxy, settings: FrontSettings) -> None:
        self._proxy, self._settings = proxy, settings
        pages = files("polaris_sim.front") / "pages"
        self._pages = {
            settings.customer_host: (pages / "customer.html").read_bytes(),
            settings.admin_host: (pages / "admin.html").read_bytes(),
        }
        self._shared = {
            "/demo.css": (b"text/css; charset=utf-8", (pages / "demo.css").read_bytes()),
            "/demo.js": (b"text/javascript; charset=utf-8", (pages / "demo.js").read_bytes()),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            backend = backend_of(scope["path"])
            if backend is not None:
                await self._proxy.pass_on(backend, scope, receive, send)
            else:
                await self._own(scope, send)

    async def _own(self, scope: Scope, send: Send) -> None:
        host = host_of(scope)
        page = self._pages.get(host)
        if page is None:
            where = f"http://{self._settings.customer_host} or http://{self._settings.admin_host}"
            await answer_error(send, 404, "not_found", f"Use {where} with this port.")
        elif scope["method"] not in ("GET", "HEAD"):
            await answer_error(send, 405, "method_not_allowed", "Method Not Allowed.")
        elif scope["path"] == "/":
            await _answer(send, b"text/html; charset=utf-8", page)
        elif scope["path"] in self._shared:
            await _answer(send, *self._shared[scope["path"]])
        elif scope["path"] == "/demo.json":
            await _answer(send, b"application/json", json.dumps(self._shown(host)).encode())
        else:
            await answer_error(send, 404, "not_found", "There is nothing here.")

    def _shown(self, host: str) -> dict[str, str]:
        shown = self._settings
        if host == shown.admin_host:
            return {"email": shown.operator_email, "password": shown.operator_password, "mailbox": shown.mailbox}
        return {"email": shown.driver_email, "password": shown.driver_password}

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._proxy.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


def create_app(proxy: Proxy, settings: FrontSettings) -> ASGIApp:
    """The front over ``proxy``."""
    return Front(proxy, settings)


def host_of(scope: Scope) -> str:
    """The lower-case host name of the request, without port."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return hosts[0].decode("latin-1").rsplit(":", 1)[0].lower() if len(hosts) == 1 else ""


async def _answer(send: Send, content_type: bytes, body: bytes) -> None:
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"content-security-policy", _POLICY),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
