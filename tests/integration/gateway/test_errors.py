"""Input that nobody expects is the sender's mistake, never an error of ours."""

import asyncio
import json
import random
import re
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi.routing import APIRoute
from tests.support.gateway import ADMIN_URL, GatewayWorld

from gateway.app import ROUTERS
from gateway.lists import Leaf, is_list
from polaris_common.identity import passwords
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


SAMPLES: list[Any] = [
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    2**200,
    1e308,
    "",
    "x" * 5_000,
    "\u202e",
    "é",
    "1",
    "a@b",
    "../..",
    "'; --",
    "2026-13-40",
    "00000000-0000-0000-0000-000000000000",
    [],
    {},
    [None],
    {"a": {"b": []}},
]
NAMES = [
    *("flags", "key", "value", "email", "password", "limit", "skip", "from", "to", "cursor", "userId", "event"),
    *("token", "chargeBoxId", "idTag", "label", "status", "deviceId", "userPublicId", "pairableId", "purpose"),
]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
TRIES, AT_ONCE = 10_000, 20
PATH_PARTS = ["1", "0", "-1", str(2**63), str(2**70), "x", "a b", "%2e%2e", "%ff", "é", "CP-1", "null", "7KQ2MX9A"]


def _filled(path: str, chance: random.Random) -> str:
    while "{" in path:
        begin, end = path.index("{"), path.index("}")
        path = path[:begin] + chance.choice(PATH_PARTS) + path[end + 1 :]
    return path


def _body(chance: random.Random) -> bytes:
    kind = chance.random()
    if kind < 0.1:
        return chance.randbytes(chance.randrange(60))
    if kind < 0.2:
        return json.dumps(chance.choice(SAMPLES)).encode()
    value = {chance.choice(NAMES): chance.choice(SAMPLES) for _ in range(chance.randrange(6))}
    return json.dumps(value).encode()


async def _try(client: httpx.AsyncClient, chance: random.Random, routes: list[Any]) -> httpx.Response:
    route = chance.choice(routes)
    method = chance.choice(
        sorted(route.methods) if chance.random() < 0.9 else ["GET", "POST", "PUT", "PATCH", "DELETE"]
    )
    query = {chance.choice(NAMES): str(chance.choice(SAMPLES)) for _ in range(chance.randrange(3))}
    headers = {"content-type": chance.choice(["application/json"] * 6 + ["text/plain", "", "multipart/form-data"])}
    if chance.random() < 0.3:
        headers["idempotency-key"] = chance.choice(["a", "b", "k" * 300, " "])
    if chance.random() < 0.1:
        headers["authorization"] = chance.choice(["Bearer dev_x", "Bearer ", "Basic eA==", "Bearer dev_" + "é" * 5])
    content = _body(chance) if method != "GET" else None
    raw = {name.encode(): value.encode() for name, value in headers.items()}
    return await client.request(method, _filled(route.path, chance), params=query, headers=raw, content=content)


@pytest.mark.timeout(300)
async def test_ten_thousand_random_requests_cause_no_error_of_ours(world: GatewayWorld, monkeypatch: Any) -> None:
    from gateway.app import ROUTERS

    world.never_limit(monkeypatch)
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    await _operator(world)
    await world.driver()
    world.customer.headers["origin"] = str(world.customer.base_url)
    routes: list[Any] = [route for router in ROUTERS for route in router.routes]
    chance = random.Random(7)
    wrong = []
    for _ in range(TRIES // AT_ONCE):
        tries = [_try(chance.choice([world.admin, world.customer]), chance, routes) for _ in range(AT_ONCE)]
        answers = await asyncio.gather(*tries)
        wrong += [
            (each.request.method, str(each.request.url), each.text) for each in answers if each.status_code >= 500
        ]

    assert wrong == []
