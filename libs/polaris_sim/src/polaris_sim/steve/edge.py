"""The edge of the REST API: error JSON, bodies, the sign-in page."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from polaris_sim.steve.dates import iso
from polaris_sim.steve.errors import SteveError
from polaris_sim.steve.simulator import SteveSimulator

Handler = Callable[[Request], Awaitable[Response]]


def json_response(content: object, status: int = 200) -> Response:
    """A JSON answer without spaces."""
    return json_text(json.dumps(content, separators=(",", ":")), status)


def json_text(text: str, status: int = 200) -> Response:
    """An answer that is JSON already."""
    return Response(text, status, media_type="application/json")


async def json_object(request: Request) -> dict[str, object]:
    """The body; a ValueError, and so a 500, if it is not a JSON object."""
    body = json.loads(await request.body())
    if not isinstance(body, dict):
        raise ValueError("Cannot deserialize the body")
    return body


class ExactRoute(Route):
    """A route that another method does not match at all, so that it meets the answer for unknown paths, not a 405."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Full or none."""
        match, child_scope = super().matches(scope)
        return (match, child_scope) if match is Match.FULL else (Match.NONE, {})


class Edge:
    """Turns what handlers raise into what SteVe answers."""

    def __init__(self, simulator: SteveSimulator) -> None:
        self._simulator = simulator

    def guarded(self, handler: Handler) -> Handler:
        """``handler`` with SteVe's error JSON for whatever it raises: 500 for all that SteVe does not know."""

        async def guarded_handler(request: Request) -> Response:
            try:
                return await handler(request)
            except ClientDisconnect:
                raise
            except SteveError as refusal:
                return self.error(request, refusal.status, str(refusal))
            except Exception as error:
                return self.error(request, HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

        return guarded_handler

    def error(self, request: Request, status: HTTPStatus, message: str) -> Response:
        """SteVe's error JSON; ``path`` is the full URL without the query."""
        body = {
            "timestamp": iso(self._simulator.clock.now()),
            "status": status.value,
            "error": status.phrase,
            "message": message,
            "path": str(request.url.replace(query="", fragment="")),
        }
        return json_response(body, status)

    def sign_in_redirect(self) -> Response:
        """302 to the page where people sign in."""
        return RedirectResponse(f"{self._simulator.config.context_path}/manager/signin", 302)

    async def sign_in_page(self, _: Request) -> Response:
        """What a client that follows the redirect finds."""
        return HTMLResponse("<!DOCTYPE html><html><body><form>Sign in</form></body></html>")

    async def unknown_path(self, request: Request) -> Response:
        """What this version of SteVe does not have."""
        if self._simulator.config.unknown_path_redirects:
            return self.sign_in_redirect()
        return self.error(request, HTTPStatus.NOT_FOUND, "No static resource.")


async def jetty_not_found(_: Request) -> Response:
    """Outside of the API Jetty answers in HTML."""
    return HTMLResponse("<html><body><h2>HTTP ERROR 404 Not Found</h2></body></html>", 404)
