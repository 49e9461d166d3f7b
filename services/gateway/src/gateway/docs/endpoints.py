"""The API's own description: OpenAPI documents and, for reading them, Swagger UI from our own server."""

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, Response

from gateway.dependencies import anyone
from gateway.docs.documents import DOCUMENTS, document
from polaris_common.http.conditional import conditional
from polaris_common.http.errors import NotFound

_CACHE = "public, max-age=300"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_START = b"""\
window.addEventListener("load", () => SwaggerUIBundle({
  url: document.body.dataset.document, dom_id: "#api", deepLinking: true, validatorUrl: null,
}));
"""
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<script src="/docs/assets/swagger-ui-bundle.js" defer></script>
<script src="/docs/assets/start.js" defer></script>
<body data-document="/openapi/{name}.json"><nav>{links}</nav><div id="api"></div></body>
</html>
"""


def documentation(routers: Sequence[APIRouter]) -> APIRouter:
    """The routes that describe ``routers``."""
    router = APIRouter(tags=["documentation"], dependencies=[Depends(anyone)], include_in_schema=False)
    routes = [route for each in routers for route in each.routes]

    @cache
    def content(name: str) -> bytes:
        return json.dumps(document(name, routes), ensure_ascii=False, separators=(",", ":")).encode()

    @router.get("/openapi/{name}.json")
    async def openapi(request: Request, name: str) -> Response:
        """One of the documents."""
        if name not in DOCUMENTS:
            raise NotFound
        return conditional(request, content(name), cache=_CACHE)

    @router.get("/docs")
    async def overview() -> Response:
        """The document for drivers; links lead to the others."""
        return _page("customer")

    @router.get("/docs/{name}")
    async def page(name: str) -> Response:
        """One document, to read and to try."""
        return _page(name)

    @router.get("/docs/assets/{name}")
    async def asset(request: Request, name: str) -> Response:
        """What the page is made of."""
        if name == "start.js":
            return conditional(request, _START, media_type="text/javascript", cache=_CACHE)
        if name not in _ASSETS:
            raise NotFound
        return conditional(request, _asset(name), media_type=_ASSETS[name], cache=_CACHE)

    return router


@cache
def _asset(name: str) -> bytes:
    return files("fastapi_offline").joinpath("static", name).read_bytes()


def _page(name: str) -> Response:
    if name not in DOCUMENTS:
        raise NotFound
    links = " · ".join(f'<a href="/docs/{each}">{about.title}</a>' for each, about in DOCUMENTS.items())
    page = _PAGE.format(title=DOCUMENTS[name].title, name=name, links=links)
    return HTMLResponse(page, headers={"content-security-policy": _POLICY})
