"""The simulator as an ASGI app: SteVe's REST API, its sign-in page, and ``/_sim``."""

import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from polaris_sim.faults import FaultInjector
from polaris_sim.steve.auth import Verdict
from polaris_sim.steve.control import control_routes
from polaris_sim.steve.edge import Edge, Handler, jetty_not_found
from polaris_sim.steve.operation_endpoints import operation_routes
from polaris_sim.steve.simulator import SteveSimulator
from polaris_sim.steve.tag_endpoints import tag_routes
from polaris_sim.steve.transaction_endpoints import transaction_routes


def create_app(simulator: SteveSimulator) -> ASGIApp:
    """Serve ``simulator``; its fault plan disturbs everything but ``/_sim``."""
    edge, context_path = Edge(simulator), simulator.config.context_path

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await simulator.aclose()

    routes = [
        Mount(f"{context_path}/api/v1", app=_Gate(simulator, edge)),
        Route(f"{context_path}/manager/signin", edge.sign_in_page),
        *control_routes(simulator),
        Mount("/", app=_as_app(jetty_not_found)),
    ]
    return FaultInjector(Starlette(routes=routes, lifespan=lifespan), simulator.faults)


class _Gate:
    """Checks the credentials, then routes to what this version has."""

    def __init__(self, simulator: SteveSimulator, edge: Edge) -> None:
        self._simulator, self._edge = simulator, edge
        routes = [
            *tag_routes(simulator, edge),
            *transaction_routes(simulator, edge),
            *operation_routes(simulator, edge),
        ]
        self._router = Router(routes, redirect_slashes=False, default=_as_app(edge.unknown_path))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        refusal = self._refusal(request)
        await (refusal or self._router)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        simulator, edge = self._simulator, self._edge
        if simulator.features.header_key_auth:
            verdict = simulator.credentials.check_key(request.headers, simulator.config.api_key_header)
        else:
            verdict = simulator.credentials.check_basic(request.headers)
        match verdict:
            case Verdict.ALLOWED:
                return None
            case Verdict.NOT_EXPOSED:
                return HTMLResponse("<html><body><h2>Web APIs are not exposed</h2></body></html>", 500)
            case Verdict.MISSING if simulator.config.missing_header_redirects:
                return edge.sign_in_redirect()
            case Verdict.MISSING:
                return edge.error(request, HTTPStatus.FORBIDDEN, "Access Denied")
            case Verdict.WRONG:
                return edge.error(request, HTTPStatus.UNAUTHORIZED, "Full authentication is required")


def _as_app(handler: Handler) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handler(Request(scope, receive))
        await response(scope, receive, send)

    return app
