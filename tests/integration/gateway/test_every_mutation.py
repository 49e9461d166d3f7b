"""What holds for every route that changes something: repeats with a key, and bodies beyond the limit."""

import re
from typing import Any

import httpx
import pytest
from starlette.routing import BaseRoute
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, GatewayWorld
from tests.support.principals import ASKED_BY, Principals, principals_of

from gateway.app import MAX_BODY_BYTES, ROUTERS
from polaris_common.http.callers import Caller, callers_of
from polaris_common.http.idempotency import AnswerNotKept, KeyReused

HAS_ITS_OWN_WAY = {
    "/api/ocpp/pre-authorize": "the same tap gets the same answer",
    "/api/ocpp/meter-values": "samples are kept once whatever is sent",
    "/api/webhook/lago": "the inbox knows each event by Lago's own key",
    "/api/auth/sign-in/email": "answers with a session, which nobody may replay; each one is a session of its own",
    "/api/auth/sign-in/oauth2": "makes an address with a state of its own and nothing else",
    "/api/auth/sign-out": "safe to repeat",
    "/api/auth/multi-session/set-active": "safe to repeat",
    "/auth/verify": "the link is used up by the first",
    "/api/auth/magic-link/verify": "the link is used up by the first",
    "/api/admin/reset-password": "the link is used up by the first",
    "/api/auth/scan-login": "the card that was read is used up by the first",
    "/api/auth/qr-sign-in": "a phone that never used its credentials is registered anew, not twice",
}
"""Safe to send again without a key, and why."""
UNKNOWN = "7d3f0b52-6f0e-4a58-9d5e-2f1c8a9b0c4d"
KEPT = frozenset({200, 201, 202, 204, 400, 404, 410, 422})
FORBIDDEN = 403
"""Never kept: what is forbidden now may be allowed to the next try."""

Mutation = tuple[str, str, Caller]


def _mutations() -> list[Mutation]:
    routes: list[BaseRoute] = [route for router in ROUTERS for route in router.routes]
    found = []
    for route in routes:
        (caller,) = callers_of(route)
        methods: Any = getattr(route, "methods", ())
        found += [(method, getattr(route, "path", ""), caller) for method in sorted(set(methods) - {"GET", "HEAD"})]
    return found


MUTATIONS = [each for each in _mutations() if each[1] not in HAS_ITS_OWN_WAY]


@pytest.fixture
async def people(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> Principals:
    """Everybody, as often as they like."""
    monkeypatch.setattr("gateway.devices.endpoints.FLOOR_MS", (0, 0))
    return await principals_of(world, monkeypatch)


async def _send(
    people: Principals, mutation: Mutation, proof: dict[str, str], *, key: str | None = None, content: bytes = b"{}"
) -> httpx.Response:
    method, path, _ = mutation
    base = ADMIN_URL if path.startswith("/api/admin") else CUSTOMER_URL
    headers = {"origin": base, "content-type": "application/json", **proof}
    if key is not None:
        headers["idempotency-key"] = key
    return await people.world.steve.request(
        method, base + re.sub(r"\{\w+\}", UNKNOWN, path), headers=headers, content=content
    )


async def test_every_mutation_heeds_the_idempotency_key(people: Principals) -> None:
    wrong = []
    for number, mutation in enumerate(MUTATIONS):
        await people.revive()
        key, proof = f"key-{number}", await people.headers(ASKED_BY.get(mutation[2], "nobody"))
        first = await _send(people, mutation, proof, key=key)
        if first.status_code == FORBIDDEN:
            continue
        if first.status_code not in KEPT:
            wrong.append((mutation, "first", first.status_code, first.text))
            continue
        proof = await people.headers(ASKED_BY.get(mutation[2], "nobody"))
        again = await _send(people, mutation, proof, key=key)
        other = await _send(people, mutation, proof, key=key, content=b'{"other": 1}')
        same = (again.status_code, again.content) == (first.status_code, first.content)
        replayed = same and again.headers.get("idempotency-replayed") == "true"
        if not replayed and again.json().get("error") != AnswerNotKept.code:
            wrong.append((mutation, "again", again.status_code, again.text))
        if other.json().get("error") != KeyReused.code:
            wrong.append((mutation, "other", other.status_code, other.text))

    assert len(MUTATIONS) > 25
    assert HAS_ITS_OWN_WAY.keys() <= {path for _, path, _ in _mutations()}
    assert not wrong, "\n".join(map(str, wrong))


async def test_no_mutation_reads_a_body_beyond_the_limit(people: Principals) -> None:
    huge = b'{"a": "' + b"x" * MAX_BODY_BYTES + b'"}'
    wrong = []
    for mutation in _mutations():
        if mutation[2] is Caller.LAGO:
            continue  # its limit is larger, and tested with its webhooks
        proof = await people.headers(ASKED_BY.get(mutation[2], "nobody"))
        answer = await _send(people, mutation, proof, content=huge)
        if answer.status_code != 413:
            wrong.append((mutation, answer.status_code, answer.text))

    assert not wrong, "\n".join(map(str, wrong))
