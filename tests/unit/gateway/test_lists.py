"""Every list has one of the two shapes and takes its parameters the same way."""

from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy import Select, select

from gateway.app import ROUTERS
from gateway.lists import Leaf, LeafingBack, Listed, is_list
from polaris_common.db.pages import Page, Paging, on_page
from polaris_common.models import ChargingSession, User

WHOLE = {
    "/api/admin/feature-flags",
    "/api/admin/users/{user_id}/feature-flags",
    "/api/admin/notifications/unread",
    "/api/customer/notifications/unread",
}
"""Not leafed through: a registry in our code, and the few that a bell shows."""

ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
WITH_ITEMS = [
    route
    for route in ROUTES
    if "items" in getattr(route.response_model, "model_fields", {}) and route.path not in WHOLE
]


class Names(Listed[str]):
    """A list."""


class Lines(Leaf[int]):
    """A log."""


def _sql(query: Select[Any]) -> str:
    return " ".join(str(query).split())


def test_there_are_lists() -> None:
    assert {"/api/customer/sessions", "/api/admin/user", "/api/admin/audit"} <= {route.path for route in WITH_ITEMS}


@pytest.mark.parametrize("route", WITH_ITEMS, ids=lambda route: route.path)
def test_an_answer_with_items_is_one_of_the_two_shapes(route: APIRoute) -> None:
    taken = _taken(route.dependant)

    assert is_list(route.response_model)
    assert {"skip", "limit"} <= taken or {"cursor", "limit"} <= taken


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{sorted(route.methods)} {route.path}")
def test_who_takes_skip_or_a_cursor_answers_a_list(route: APIRoute) -> None:
    taken = _taken(route.dependant)

    assert not taken & {"skip", "cursor"} or is_list(route.response_model)


def test_a_page_says_where_it_is_in_the_whole() -> None:
    page = Names.of(Page([1, 2], 7, Paging(skip=2, limit=2)), str)

    assert page.model_dump() == {"items": ["1", "2"], "total": 7, "skip": 2, "limit": 2}


@pytest.mark.parametrize(("rows", "cursor"), [([9, 8, 7], "8"), ([9, 8], None), ([], None)])
def test_a_leaf_leads_to_what_is_older(rows: list[int], cursor: str | None) -> None:
    leaf = Lines.of(rows, LeafingBack(None, 2), int, int)

    assert leaf.model_dump(by_alias=True) == {"items": rows[:2], "nextCursor": cursor}


@pytest.mark.parametrize(
    ("query", "model", "order"),
    [
        (select(User).order_by(User.name), User, "ORDER BY users.name, users.id"),
        (select(User), User, "ORDER BY users.id"),
        (
            select(ChargingSession, User).order_by(ChargingSession.started_at.desc()),
            ChargingSession,
            "ORDER BY charging_sessions.started_at DESC, charging_sessions.id",
        ),
    ],
)
def test_rows_that_are_equal_have_an_order_too(query: Select[Any], model: Any, order: str) -> None:
    assert order in _sql(on_page(query, model, Paging(0, 10)))


def _taken(dependant: Dependant) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*(_taken(each) for each in dependant.dependencies))
