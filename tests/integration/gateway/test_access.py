"""Every route, tried by everybody: who is let in, and what the others are told."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from tests.support.gateway import ADMIN_URL, CUSTOMER_URL, GatewayWorld
from tests.support.principals import EVERYBODY, Principals, principals_of

from gateway.app import ROUTERS
from polaris_common.http.callers import Caller, callers_of

REFUSED_FOR_WHAT_THEY_ASK = {
    ("driver", "POST", "/api/customer/impersonation/end"),
    ("device", "DELETE", "/api/devices/{device_id}"),
}
"""Let in, and told 403 by the handler: only operators view accounts, a device removes only itself."""

UNKNOWN = {"user_id": "7d3f0b52-6f0e-4a58-9d5e-2f1c8a9b0c4d", "device_id": "7d3f0b52-6f0e-4a58-9d5e-2f1c8a9b0c4d"}
IN = "in"
ADMITTED: dict[Caller, dict[str, object]] = {
    Caller.DRIVER: {"nobody": 401, "driver": IN, "operator": 403, "superadmin": 403, "device": 401},
    Caller.OPERATOR: {"nobody": 401, "driver": 404, "operator": IN, "superadmin": IN, "device": 401},
    Caller.SUPERADMIN: {"nobody": 401, "driver": 404, "operator": 403, "superadmin": IN, "device": 401},
    Caller.SIGNED_IN: {"nobody": 401, "driver": IN, "operator": IN, "superadmin": IN, "device": 401},
    Caller.DEVICE: {"nobody": 401, "driver": 401, "operator": 401, "superadmin": 401, "device": IN},
}
"""What each caller gets on a route that admits one kind: its status, or in."""


@dataclass(frozen=True)
class Call:
    """One method of one route."""

    method: str
    path: str
    caller: Caller

    @property
    def surface(self) -> str:
        """Where it is called."""
        return ADMIN_URL if self.path.startswith(("/api/admin", "/api/events")) else CUSTOMER_URL

    @property
    def filled(self) -> str:
        """Its path with ids that nothing has."""
        return re.sub(r"\{(\w+)\}", lambda match: UNKNOWN.get(match[1], "4711"), self.path)


def _calls() -> Iterator[Call]:
    routes: list[BaseRoute] = [route for router in ROUTERS for route in router.routes]
    for route in routes:
        (caller,) = callers_of(route)
        methods: Any = getattr(route, "methods", ())
        for method in sorted(set(methods) - {"HEAD"}):
            yield Call(method, getattr(route, "path", ""), caller)


CALLS = list(_calls())
GUARDED = [call for call in CALLS if call.caller in ADMITTED]


async def _try(principals: Principals, who: str, call: Call, *, surface: str | None = None) -> httpx.Response:
    base = surface or call.surface
    headers = {"host": base.removeprefix("https://"), **await principals.headers(who)}
    if call.method != "GET" and "cookie" in headers:
        headers["origin"] = base
    return await principals.world.steve.request(call.method, call.filled, headers=headers)


@pytest.fixture
async def people(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> Principals:
    """Everybody, as often as they like."""
    return await principals_of(world, monkeypatch)


async def _let_in_wrongly(people: Principals, calls: Iterable[Call]) -> list[tuple[str, Call, int, object]]:
    wrong = []
    for call in calls:
        for who, status in ADMITTED[call.caller].items():
            expected = 403 if (who, call.method, call.path) in REFUSED_FOR_WHAT_THEY_ASK else status
            response = await _try(people, who, call)
            assert len(response.headers.get_list("content-type")) <= 1, "one content type, or strict clients fail"
            if (response.status_code in {401, 403}) if expected == IN else (response.status_code != expected):
                wrong.append((who, call, response.status_code, expected))
    return wrong


async def test_every_route_lets_in_its_callers_and_nobody_else(people: Principals) -> None:
    wrong = await _let_in_wrongly(people, GUARDED)

    assert not wrong, "\n".join(map(str, wrong))


async def test_a_route_that_lets_in_others_than_it_says_would_be_found(people: Principals) -> None:
    claimed = [
        Call("GET", "/api/customer/sessions", Caller.SIGNED_IN),
        Call("GET", "/api/admin/user", Caller.SUPERADMIN),
    ]

    found = {(who, call.path) for who, call, *_ in await _let_in_wrongly(people, claimed)}

    assert found == {
        ("operator", "/api/customer/sessions"),
        ("superadmin", "/api/customer/sessions"),
        ("operator", "/api/admin/user"),
    }


LIBRARY_PATHS = [
    *("update-user", "sign-up/email", "change-email", "change-password", "delete-user", "link-social"),
    *("admin/set-role", "admin/create-user", "admin/impersonate-user", "create-session", "mint-session"),
    "sign-in/session-for-user",
]


async def test_nobody_gives_themselves_a_role_or_another_s_session(people: Principals) -> None:
    """The predecessor's library served these under one catch-all route."""
    victim = {"userId": str(people.users["operator"].id), "role": "admin", "superadmin": True}
    wrong = []
    for path in LIBRARY_PATHS:
        for who in ("nobody", "driver"):
            headers = {"host": "polaris.test", "origin": CUSTOMER_URL, **await people.headers(who)}
            answer = await people.world.steve.post(f"/api/auth/{path}", json=victim, headers=headers)
            if answer.status_code != 404 or "set-cookie" in answer.headers:
                wrong.append((path, who, answer.status_code))

    assert not wrong


def test_no_body_of_a_driver_or_a_stranger_has_a_role() -> None:
    bodies = [
        (route.path, field.field_info.annotation)
        for route in (each for router in ROUTERS for each in router.routes)
        if isinstance(route, APIRoute) and not route.path.startswith("/api/admin")
        for field in route.dependant.body_params
    ]
    rights = {"role", "superadmin", "userId", "user_id", "ownerUserId"}

    assert bodies
    assert [path for path, model in bodies if rights & set(getattr(model, "model_fields", {}))] == []


async def test_the_other_surface_s_routes_do_not_exist_whoever_asks(people: Principals) -> None:
    other = {"/api/admin": CUSTOMER_URL, "/api/customer": ADMIN_URL}
    wrong = []
    for call in CALLS:
        surface = next((url for prefix, url in other.items() if call.path.startswith(prefix)), None)
        for who in EVERYBODY if surface else ():
            response = await _try(people, who, call, surface=surface)
            if (response.status_code, response.json()["error"]) != (404, "not_found"):
                wrong.append((who, call, response.status_code))

    assert not wrong, "\n".join(map(str, wrong))


async def test_a_host_that_is_not_ours_has_no_routes(people: Principals) -> None:
    wrong = []
    for call in GUARDED:
        for who in EVERYBODY:
            response = await _try(people, who, call, surface="https://evil.test")
            if response.status_code != 404:
                wrong.append((who, call, response.status_code))

    assert not wrong, "\n".join(map(str, wrong))


async def test_a_cookie_opens_no_change_from_a_foreign_page(people: Principals) -> None:
    wrong = []
    for call in GUARDED:
        if call.method == "GET":
            continue
        for who in ("driver", "operator", "superadmin"):
            headers = {**await people.headers(who), "host": call.surface.removeprefix("https://")}
            for origin in ({}, {"origin": "https://evil.test"}):
                answer = await people.world.steve.request(call.method, call.filled, headers={**headers, **origin})
                if answer.status_code not in ({401, 403, 404} if call.caller is Caller.DEVICE else {403, 404}):
                    wrong.append((who, call, answer.status_code))

    assert not wrong, "\n".join(map(str, wrong))


async def test_another_driver_s_session_does_not_exist(people: Principals, world: GatewayWorld) -> None:
    stranger = await world.user(email="stranger@example.org")
    session_id = await world.session(stranger, 1)

    response = await _try(people, "driver", Call("GET", f"/api/customer/sessions/{session_id}", Caller.DRIVER))

    assert (response.status_code, response.json()["error"]) == (404, "session_not_found")


async def test_an_operator_who_views_an_account_reads_and_changes_nothing(
    people: Principals, world: GatewayWorld
) -> None:
    driver = people.users["driver"].id
    wrong = []
    for call in GUARDED:
        if call.caller is Caller.DRIVER:
            path = f"{call.path}?as={driver}"
            response = await _try(people, "operator", Call(call.method, path, call.caller))
            refused = response.status_code == 403
            if refused != (call.method != "GET"):
                wrong.append((call, response.status_code))

    assert not wrong, "\n".join(map(str, wrong))


def test_there_is_no_route_that_does_not_say_who_may_call_it() -> None:
    routes = [route for router in ROUTERS for route in router.routes]

    assert all(len(callers_of(route)) == 1 for route in routes)
    assert len(CALLS) >= len([route for route in routes if isinstance(route, APIRoute)])
