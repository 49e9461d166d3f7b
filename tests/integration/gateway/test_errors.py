"""Input that nobody expects is the sender's mistake, never an error of ours."""

import re
from typing import Any

import pytest
from fastapi.routing import APIRoute
from tests.support.gateway import ADMIN_URL, GatewayWorld

from gateway.app import ROUTERS
from gateway.lists import Leaf, is_list
from polaris_common.models import Role

FLAGS = "/api/admin/feature-flags"
JSON = {"content-type": "application/json"}


async def _operator(world: GatewayWorld) -> None:
    await world.user(Role.ADMIN, email="op@example.org")
    await world.sign_in(world.admin, "op@example.org")
    world.admin.headers["origin"] = ADMIN_URL


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b'"text"',
        b"",
        b"{",
        b"\xff\xfe",
        b'{"flags": "\xc3\x28"}',
        b"[" * 100_000,
        b'{"flags": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"flags": ' + b"9" * 5_000 + b"}",
        b'{"flags": 1e999}',
        b'{"flags": NaN}',
        b'{"flags": [{"key": "\\ud800", "value": 1}]}',
        b'{"flags": [{"key": "a\\u0000b", "value": 1}]}',
        b'{"flags": [{"key": "a\x00b", "value": 1}]}',
    ],
    ids=lambda body: repr(body[:24]),
)
@pytest.mark.parametrize("path", [FLAGS, "/api/auth/sign-in/email"])
async def test_a_strange_body_is_refused(world: GatewayWorld, path: str, body: bytes) -> None:
    await _operator(world)
    method = "PATCH" if path == FLAGS else "POST"

    answer = await world.admin.request(method, path, content=body, headers=JSON)

    assert answer.status_code in {400, 413, 422}
    assert {"error", "message", "requestId"} <= set(answer.json())


async def test_what_only_looks_like_a_nul_is_text(world: GatewayWorld) -> None:
    await _operator(world)
    body = rb'{"flags": [{"key": "a\\u0000b \ud83d\ude00 %00", "value": 1}]}'

    answer = await world.admin.patch(FLAGS, content=body, headers=JSON)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_flag")


@pytest.mark.parametrize("path", ["/api/admin/audit?event=%00", "/api/admin/audit/a%00b"])
async def test_a_nul_in_the_address_is_refused(world: GatewayWorld, path: str) -> None:
    await _operator(world)

    answer = await world.admin.get(path)

    assert (answer.status_code, answer.json()["error"]) == (400, "unusable_text")


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_beyond_the_limit_is_not_read(world: GatewayWorld, *, announced: bool) -> None:
    await _operator(world)
    sent = 0

    async def parts() -> Any:
        nonlocal sent
        for _ in range(64):
            sent += 65_536
            yield b" " * 65_536

    content: Any = b" " * 2_000_000 if announced else parts()
    answer = await world.admin.patch(FLAGS, content=content, headers=JSON)

    assert (answer.status_code, answer.json()["error"]) == (413, "body_too_large")


PAGES = ["limit=0", "limit=101", "limit=1e2", "limit=5x", "limit=", "skip=-1", "skip=x", f"skip={2**63}"]
LEAVES = ["limit=0", "limit=101", "limit=5x", "limit=", "cursor=0", "cursor=x", f"cursor={2**63}"]


async def test_every_list_takes_plain_numbers_only(world: GatewayWorld) -> None:
    await world.driver()
    await world.operator()
    lists = [route for router in ROUTERS for route in router.routes if is_list(getattr(route, "response_model", None))]
    wrong = []
    for route in lists:
        assert isinstance(route, APIRoute)
        browser = world.admin if route.path.startswith("/api/admin") else world.customer
        path = re.sub(r"\{\w+\}", "7d3f0b52-6f0e-4a58-9d5e-2f1c8a9b0c4d", route.path)
        for query in LEAVES if issubclass(route.response_model, Leaf) else PAGES:
            answer = await browser.get(f"{path}?{query}")
            refused = (answer.status_code, answer.json()["error"]) == (422, "invalid_request")
            if not refused or answer.json()["issues"][0]["path"] != query.partition("=")[0]:
                wrong.append((path, query, answer.text))

    assert len(lists) >= 3
    assert not wrong, "\n".join(map(str, wrong))


async def test_a_long_answer_is_compressed_for_who_can_read_it(world: GatewayWorld) -> None:
    squeezed = await world.customer.get("/openapi/customer.json", headers={"accept-encoding": "gzip"})
    plain = await world.customer.get("/openapi/customer.json", headers={"accept-encoding": "identity"})

    assert squeezed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert squeezed.json() == plain.json()
    assert int(squeezed.headers["content-length"]) < len(plain.content) / 2
