"""Every route says who may call it, or the gateway does not start."""

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import Route

from gateway.dependencies import anyone, current_operator
from polaris_common.http.callers import Caller, admits, callers_of, require_callers


async def _handler() -> None:
    """Nothing."""


def _app(*dependencies: object) -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.get("/thing", dependencies=[Depends(each) for each in dependencies])(_handler)  # type: ignore[arg-type]
    return app


def test_a_route_without_a_caller_is_refused() -> None:
    with pytest.raises(RuntimeError, match="/thing"):
        require_callers(_app().routes)


def test_a_route_with_two_callers_is_refused() -> None:
    with pytest.raises(RuntimeError, match="/thing"):
        require_callers(_app(anyone, current_operator).routes)


def test_the_callers_of_a_route_are_found_below_its_dependencies() -> None:
    def nested(_: None = Depends(anyone)) -> None:
        """Nothing."""

    (route,) = _app(nested).routes

    assert callers_of(route) == {Caller.ANYONE}


def test_a_router_may_name_the_callers_of_all_its_routes() -> None:
    router = APIRouter(dependencies=[Depends(anyone)])
    router.get("/thing")(_handler)

    require_callers(router.routes)


def test_a_plain_endpoint_is_marked_itself() -> None:
    marked = admits(Caller.LAGO)(_handler)

    assert callers_of(Route("/hook", marked)) == {Caller.LAGO}
