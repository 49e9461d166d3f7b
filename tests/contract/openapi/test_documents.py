"""The OpenAPI documents that are kept with the code are those that the gateway serves."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.app import ROUTERS
from gateway.docs.documents import DOCUMENTS, document
from polaris_common.http.callers import Caller, callers_of

FOLDER = Path(__file__).parents[3] / "docs/reference/openapi"
ROUTES = [route for router in ROUTERS for route in router.routes]
METHODS = {"get", "put", "post", "patch", "delete"}


def _operations(name: str) -> list[tuple[str, str, dict[str, Any]]]:
    paths = document(name, ROUTES)["paths"]
    return [(path, method, op) for path, item in paths.items() for method, op in item.items() if method in METHODS]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_document_in_the_repository_is_up_to_date(name: str) -> None:
    assert json.loads((FOLDER / f"{name}.json").read_text()) == document(name, ROUTES), "run: make openapi"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_operation_ids_are_unique(name: str) -> None:
    assert [
        each for each, times in Counter(op["operationId"] for *_, op in _operations(name)).items() if times > 1
    ] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_operation_describes_its_errors(name: str) -> None:
    bare = [
        (path, method, status)
        for path, method, op in _operations(name)
        for status in {"429", "500", *(status for status in op["responses"] if status >= "400")}
        if "application/json" not in op["responses"].get(status, {}).get("content", {})
    ]

    assert bare == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_guarded_operation_says_how_to_prove_who_one_is(name: str) -> None:
    public = {getattr(route, "path", "") for route in ROUTES if callers_of(route) == {Caller.ANYONE}}

    assert [path for path, _, op in _operations(name) if bool(op["security"]) == (path in public)] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_example_fits_its_schema(name: str) -> None:
    whole = document(name, ROUTES)
    wrong = []
    for path, method, op in _operations(name):
        bodies = [*op["responses"].values(), op.get("requestBody", {})]
        for content in (content for body in bodies for content in body.get("content", {}).values()):
            if "example" in content and "schema" in content:
                validator = Draft202012Validator({**content["schema"], "components": whole["components"]})
                wrong += [(path, method, error.message) for error in validator.iter_errors(content["example"])]

    assert not wrong, "\n".join(map(str, wrong))


def test_every_route_of_the_api_is_in_a_document() -> None:
    shown = {path for name in DOCUMENTS for path, *_ in _operations(name)}
    api = {getattr(route, "path", "") for route in ROUTES if getattr(route, "include_in_schema", False)}

    assert {path for path in api if path.startswith("/api/")} - shown <= {
        "/api/ocpp/pre-authorize",
        "/api/ocpp/meter-values",
        "/api/webhook/lago",
    }
