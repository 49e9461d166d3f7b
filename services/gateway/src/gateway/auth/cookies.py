"""The two cookies of a signed-in browser: its active session, and the browser's own name. Scripts see neither."""

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.settings import GatewaySettings
from polaris_common.identity.sessions import SESSION_LIFETIME, Opened, browser_cookie_name, cookie_name

_RENEWED = "renewed_cookies"


def session_cookie(request: Request, settings: GatewaySettings) -> str | None:
    """The token of the browser's active session, whoever made it up."""
    return request.cookies.get(cookie_name(secure=settings.secure_cookies))


def browser_cookie(request: Request, settings: GatewaySettings) -> str | None:
    """What names the browser, whoever made it up."""
    return request.cookies.get(browser_cookie_name(secure=settings.secure_cookies))


def set_session_cookies(response: Response, settings: GatewaySettings, opened: Opened) -> None:
    """Let the browser keep a session that was just opened or made active."""
    whole = None if opened.max_age_seconds is None else int(SESSION_LIFETIME.total_seconds())
    _set(response, settings, cookie_name(secure=settings.secure_cookies), opened.token, opened.max_age_seconds)
    _set(response, settings, browser_cookie_name(secure=settings.secure_cookies), opened.browser, whole)


def clear_session_cookies(response: Response, settings: GatewaySettings) -> None:
    """Let the browser forget who was signed in."""
    _set(response, settings, cookie_name(secure=settings.secure_cookies), "", 0)
    _set(response, settings, browser_cookie_name(secure=settings.secure_cookies), "", 0)


def renew_cookies(request: Request, settings: GatewaySettings) -> None:
    """Have the answer to ``request``, whatever it will be, prolong the cookies that came with it."""
    carrier, whole = Response(), int(SESSION_LIFETIME.total_seconds())
    for name in (cookie_name(secure=settings.secure_cookies), browser_cookie_name(secure=settings.secure_cookies)):
        if name in request.cookies:
            _set(carrier, settings, name, request.cookies[name], whole)
    request.scope.setdefault("state", {})[_RENEWED] = carrier.headers.getlist("set-cookie")


class RenewedCookiesMiddleware:
    """Puts cookies that a dependency has renewed onto the answer, unless the handler has set them itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_cookies(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add(message, scope.get("state", {}))
            await send(message)

        await self._app(scope, receive, send_with_cookies)


def _add(message: MutableMapping[str, Any], state: MutableMapping[str, Any]) -> None:
    headers = MutableHeaders(raw=list(message["headers"]))
    already = {cookie.partition("=")[0] for cookie in headers.getlist("set-cookie")}
    for cookie in state.get(_RENEWED, ()):
        if cookie.partition("=")[0] not in already:
            headers.append("set-cookie", cookie)
    message["headers"] = headers.raw


def _set(response: Response, settings: GatewaySettings, name: str, value: str, max_age: int | None) -> None:
    response.set_cookie(
        name,
        value,
        max_age=max_age,
        domain=settings.cookie_domain,
        path="/",
        secure=settings.secure_cookies,
        httponly=True,
        samesite="lax",
    )
