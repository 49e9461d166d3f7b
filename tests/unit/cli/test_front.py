"""The demo's one port: streams to the notifier without delay, the rest of the API to the gateway, pages by host."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from polaris_sim.front.app import FrontSettings, create_app
from polaris_sim.front.proxy import Proxy
from polaris_sim.front.routing import Backend, backend_of

HOST = "polaris.localhost:8000"


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """The address of a real server with ``app``."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, proxy_headers=False)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110 - uvicorn tells it no other way
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await task


@dataclass
class Services:
    """Two stand-ins: a gateway that tells what it got, a notifier that sends one event and then waits."""

    stream_open: asyncio.Event = field(default_factory=asyncio.Event)
    stream_closed: asyncio.Event = field(default_factory=asyncio.Event)

    def gateway(self) -> ASGIApp:
        async def tell(request: Request) -> Response:
            body: dict[str, Any] = {
                "path": request.scope["raw_path"].decode(),
                "query": request.url.query,
                "headers": dict(request.headers),
                "body": (await request.body()).decode(),
            }
            response = JSONResponse(body, 201 if request.method == "POST" else 200)
            response.set_cookie("a", "1")
            response.set_cookie("b", "2")
            return response

        return Starlette(routes=[Route("/{path:path}", tell, methods=["GET", "POST"])])

    def notifier(self) -> ASGIApp:
        async def frames() -> AsyncIterator[str]:
            self.stream_open.set()
            try:
                yield "id: 7\nevent: session.started\ndata: {}\n\n"
                await asyncio.sleep(60)
            finally:
                self.stream_closed.set()

        async def stream(request: Request) -> Response:
            return StreamingResponse(frames(), media_type="text/event-stream")

        return Starlette(routes=[Route("/{path:path}", stream)])


@asynccontextmanager
async def front(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with served(services.gateway()) as gateway, served(services.notifier()) as notifier:
        proxy = Proxy({Backend.GATEWAY: gateway, Backend.NOTIFIER: notifier})
        settings = FrontSettings(
            mailbox="http://mail",
            driver_email="a@b.c",
            driver_password="drive-well-12",
            operator_email="o@b.c",
            operator_password="operate-well-12",
        )
        async with (
            served(create_app(proxy, settings)) as url,
            httpx.AsyncClient(base_url=url, headers={"Host": HOST}, trust_env=False, timeout=5) as client,
        ):
            yield client


async def test_everything_of_the_api_goes_to_the_gateway_as_it_came() -> None:
    async with front(Services()) as client:
        headers = {"X-Forwarded-For": "6.6.6.6", "Cookie": "s=1", "Connection": "x-hop", "X-Hop": "1"}
        response = await client.post("/api/x%2Fy?a=1&a=%20", content=b"hello", headers=headers)

    got = response.json()
    assert response.status_code == 201
    assert (got["path"], got["query"], got["body"]) == ("/api/x%2Fy", "a=1&a=%20", "hello")
    assert got["headers"]["host"] == HOST
    assert got["headers"]["cookie"] == "s=1"
    assert got["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert got["headers"]["x-forwarded-proto"] == "http"
    assert got["headers"]["x-forwarded-host"] == HOST
    assert "x-hop" not in got["headers"]
    assert len(response.headers.get_list("set-cookie")) == 2


async def test_a_stream_s_first_event_arrives_at_once_and_leaving_closes_it() -> None:
    services = Services()
    async with front(services) as client:
        async with client.stream("GET", "/api/stream/customer") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = response.aiter_lines()
            async with asyncio.timeout(2):
                assert await anext(lines) == "id: 7"
            assert not services.stream_closed.is_set()
        async with asyncio.timeout(2):
            await services.stream_closed.wait()


async def test_a_service_that_is_away_is_a_502_in_our_shape() -> None:
    proxy = Proxy({Backend.GATEWAY: "http://127.0.0.1:1", Backend.NOTIFIER: "http://127.0.0.1:1"})
    async with (
        served(create_app(proxy, FrontSettings())) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        response = await client.get("/api/health")

    assert (response.status_code, response.json()["error"]) == (502, "bad_gateway")


async def test_pages_belong_to_hosts() -> None:
    async with front(Services()) as client:
        customer = await client.get("/")
        admin = await client.get("/", headers={"Host": "manage.polaris.localhost:8000"})
        stranger = await client.get("/", headers={"Host": "localhost:8000"})
        nothing = await client.get("/nothing")
        shown = (await client.get("/demo.json")).json()
        shown_to_admin = (await client.get("/demo.json", headers={"Host": "manage.polaris.localhost:8000"})).json()

    assert "/api/stream/customer" in customer.text
    assert "/api/health" in admin.text
    for page in (customer, admin):
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert "http://" not in page.text
        assert "https://" not in page.text
    assert (stranger.status_code, nothing.status_code) == (404, 404)
    assert shown == {"email": "a@b.c", "password": "drive-well-12"}
    assert shown_to_admin == {"email": "o@b.c", "password": "operate-well-12", "mailbox": "http://mail"}


@pytest.mark.parametrize(("path", "kind"), [("/demo.css", "text/css"), ("/demo.js", "text/javascript")])
async def test_both_pages_share_their_style_and_their_script(path: str, kind: str) -> None:
    async with front(Services()) as client:
        pages = [await client.get("/", headers={"Host": host}) for host in (HOST, f"manage.{HOST}")]
        shared = await client.get(path)

    assert all(f'"{path}"' in page.text for page in pages)
    assert shared.headers["content-type"].startswith(kind)
    assert len(shared.content) > 500


@pytest.mark.parametrize(
    ("path", "backend"),
    [
        ("/api/stream/customer", Backend.NOTIFIER),
        ("/api/stream/admin", Backend.NOTIFIER),
        ("/api/devices/scan-stream", Backend.NOTIFIER),
        ("/api/admin/events/stream", Backend.NOTIFIER),
        ("/api/events", Backend.GATEWAY),
        ("/api/customer/sessions", Backend.GATEWAY),
        ("/api/streams", Backend.GATEWAY),
        ("/api", Backend.GATEWAY),
        ("/.well-known/apple-app-site-association", Backend.GATEWAY),
        ("/c/ABCD2345", Backend.GATEWAY),
        ("/u/ABCD2345", Backend.GATEWAY),
        ("/m/x", Backend.GATEWAY),
        ("/docs", Backend.GATEWAY),
        ("/", None),
        ("/apiary", None),
        ("/stream", None),
    ],
)
def test_routes(path: str, backend: Backend | None) -> None:
    assert backend_of(path) is backend


def test_a_taken_port_is_one_sentence_and_status_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        command = [sys.executable, "-m", "polaris_sim.front", "--port", port]
        done = subprocess.run(
            [*command, "--gateway", "http://127.0.0.1:1", "--notifier", "http://127.0.0.1:1"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert done.returncode == 2
    assert done.stderr == f"The front cannot listen on 127.0.0.1:{port}: Address already in use.\n"
    assert done.stdout == ""
