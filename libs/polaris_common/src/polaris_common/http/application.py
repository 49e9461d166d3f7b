"""The application factory of our HTTP services."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polaris_common.http.client_address import ClientAddressMiddleware, TrustedProxies
from polaris_common.http.errors import LastResortMiddleware, install_error_handlers
from polaris_common.http.limits import turns_of
from polaris_common.http.request_id import RequestIdMiddleware

SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"strict-transport-security", b"max-age=63072000; includeSubDomains"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cross-origin-resource-policy", b"same-site"),
    (b"x-xss-protection", b"0"),
]


def create_application(
    title: str,
    *,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    routers: list[APIRouter],
    version: str = "dev",
    trusted_proxies: Sequence[str] = (),
    middleware: Sequence[Middleware] = (),
) -> FastAPI:
    """A FastAPI application with our error shape, request ids, security headers and the client's true address.

    ``trusted_proxies``: the networks whose ``X-Forwarded-*`` headers are believed.
    ``middleware``: the service's own, outermost first; it runs under the request id and answers with the headers.
    """
    app = FastAPI(
        title=title,
        version=version,
        lifespan=lifespan,
        middleware=[
            Middleware(ClientAddressMiddleware, trusted=TrustedProxies(trusted_proxies)),
            Middleware(RequestIdMiddleware),
            Middleware(SecurityHeadersMiddleware),
            Middleware(LastResortMiddleware),
            *middleware,
        ],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    install_error_handlers(app)
    for router in routers:
        app.include_router(router)
    return app


class SecurityHeadersMiddleware:
    """Adds the security headers to every answer, and how often its caller may still call.

    A page's own ``Content-Security-Policy`` stands.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                wanted = [*SECURITY_HEADERS, *_turns(scope)]
                message["headers"] = [*message["headers"], *(pair for pair in wanted if pair[0] not in given)]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _turns(scope: Scope) -> list[tuple[bytes, bytes]]:
    turns = turns_of(scope)
    return [] if turns is None else [(name.encode(), value.encode()) for name, value in turns.headers.items()]
