"""Random requests by everybody, signed in: nothing that anyone sends is an error of ours.

The requests are the same for the same ``FUZZ_SEED``; ``FUZZ_EXAMPLES`` says how many there are.
"""

import asyncio
import json
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi.routing import APIRoute
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, GatewayWorld
from tests.support.principals import ASKED_BY, EVERYBODY, Principals, principals_of

from gateway.app import ROUTERS
from gateway.docs.documents import DOCUMENTS, document
from polaris_common.http.callers import Caller, callers_of

EXAMPLES, SEED, AT_ONCE = int(os.environ.get("FUZZ_EXAMPLES", "1000")), int(os.environ.get("FUZZ_SEED", "7")), 20
ROUTES = [route for router in ROUTERS for route in router.routes]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

SAMPLES: list[Any] = [
    *(None, True, -1, 0, 2**31, 2**63, 2**200, 1e308, "", "x" * 5_000, "\u202e", "é", "1", "a@b", "../..", "'; --"),
    *("2026-13-40", "00000000-0000-0000-0000-000000000000", "\ud800", "a\u0000b", [], {}, [None], {"a": {"b": []}}),
]
NAMES = (
    *("flags", "key", "value", "email", "password", "limit", "skip", "from", "to", "cursor", "userId", "event"),
    *("token", "chargeBoxId", "idTag", "label", "status", "deviceId", "userPublicId", "pairableId", "purpose"),
)
PATH_PARTS = ("1", "0", "-1", str(2**63), str(2**70), "x", "a b", "%2e%2e", "%ff", "é", "CP-1", "null", "7KQ2MX9A")


def _examples() -> dict[tuple[str, str], Any]:
    """A body that each operation would take, by method and path."""
    found: dict[tuple[str, str], Any] = {}
    for name in DOCUMENTS:
        for path, item in document(name, ROUTES)["paths"].items():
            for method, operation in item.items():
                content = operation.get("requestBody", {}).get("content", {})
                if "application/json" in content:
                    found[method.upper(), path] = content["application/json"].get("example")
    return found


@dataclass
class Fuzzer:
    """Makes requests and sends them as whoever they are for, mostly."""

    principals: Principals
    victim: UUID
    """Whom operators may do anything to."""
    chance: random.Random
    examples: dict[tuple[str, str], Any] = field(default_factory=_examples)
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How often each path had each status."""

    async def send(self, http: httpx.AsyncClient) -> httpx.Response:
        """One request."""
        chance = self.chance
        route: Any = chance.choice(ROUTES)
        method = chance.choice(sorted(route.methods) if chance.random() < 0.95 else METHODS)
        base = ADMIN_URL if route.path.startswith("/api/admin") or chance.random() < 0.2 else CUSTOMER_URL
        (caller,) = callers_of(route)
        who = ASKED_BY.get(caller, "nobody") if chance.random() < 0.85 else chance.choice(EVERYBODY)
        query = {chance.choice(NAMES): _text(chance.choice(SAMPLES)) for _ in range(chance.randrange(3))}
        url, headers = base + self._path(route), self._headers(base)
        content = None if method == "GET" else self._body(method, route.path)
        headers |= await self.principals.headers(who)
        raw = {name.encode(): value.encode() for name, value in headers.items()}
        answer = await http.request(method, url, params=query, content=content, headers=raw)
        self.answered[route.path, answer.status_code] += 1
        return answer

    def _headers(self, base: str) -> dict[str, str]:
        chance = self.chance
        headers = {"content-type": chance.choice(["application/json"] * 8 + ["text/plain", "", "multipart/form-data"])}
        if chance.random() < 0.9:
            headers["origin"] = base
        if chance.random() < 0.3:
            headers["idempotency-key"] = chance.choice(
                ["a", "b", "k" * 300, " ", str(UUID(int=chance.getrandbits(128)))]
            )
        if chance.random() < 0.05:
            headers["authorization"] = chance.choice(["Bearer dev_x", "Bearer ", "Basic eA==", "Bearer dev_" + "é" * 5])
        return headers

    def _path(self, route: Any) -> str:
        path: str = route.path
        while "{" in path:
            begin, end = path.index("{"), path.index("}")
            path = path[:begin] + self._part(path[begin + 1 : end]) + path[end + 1 :]
        return path

    def _part(self, name: str) -> str:
        if self.chance.random() < 0.6:
            known = {"device_id": self.principals.device_id, "user_id": self.victim}
            return str(known.get(name, "1"))
        return self.chance.choice(PATH_PARTS)

    def _body(self, method: str, path: str) -> bytes:
        chance, example = self.chance, self.examples.get((method, path))
        kind = chance.random()
        if kind < 0.05:
            return chance.randbytes(chance.randrange(60))
        if kind < 0.1:
            return json.dumps(chance.choice(SAMPLES)).encode()
        if isinstance(example, dict) and kind < 0.9:
            changed = {chance.choice(sorted(example)): chance.choice(SAMPLES) for _ in range(chance.randrange(3))}
            return json.dumps(example | changed).encode()
        return json.dumps({chance.choice(NAMES): chance.choice(SAMPLES) for _ in range(chance.randrange(6))}).encode()


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "replace").decode()


@pytest.mark.timeout(60 + EXAMPLES // 10)
async def test_random_requests_cause_no_error_of_ours(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.devices.endpoints.FLOOR_MS", (0, 0))
    principals = await principals_of(world, monkeypatch)
    fuzzer = Fuzzer(principals, await world.user(email="victim@example.org"), random.Random(SEED))
    wrong: list[tuple[str, str, str]] = []
    for _ in range(EXAMPLES // AT_ONCE):
        await principals.revive()
        answers = await asyncio.gather(*(fuzzer.send(world.steve) for _ in range(AT_ONCE)))
        wrong += [
            (each.request.method, str(each.request.url), each.text) for each in answers if each.status_code >= 500
        ]

    assert not wrong, f"seed {SEED}\n" + "\n".join(map(str, wrong))
    assert _never_let_in(fuzzer) == [], "these routes were tried at the door only"


def _never_let_in(fuzzer: Fuzzer) -> list[str]:
    """Guarded routes that were called often enough, and never past authentication."""
    statuses: dict[str, set[int]] = {}
    for path, status in fuzzer.answered:
        statuses.setdefault(path, set()).add(status)
    tried = Counter(path for path, _ in fuzzer.answered.elements())
    guarded = {route.path for route in ROUTES if isinstance(route, APIRoute) and callers_of(route) != {Caller.ANYONE}}
    return [path for path in guarded if tried[path] >= 10 and statuses[path] <= {401, 403, 405}]
