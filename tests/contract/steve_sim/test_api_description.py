"""The wire shapes against SteVe's own API description, where a copy of it lies beside the repository."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from polaris_sim.steve import Profile, SteveSimulator
from polaris_sim.steve.operation_forms import OPERATIONS

_FILE = Path(__file__).parents[3].parent / "shared" / "data" / "steve-api-docs.json"
_DESCRIPTIONS: list[dict[str, Any]] = [json.loads(_FILE.read_text())] if _FILE.exists() else []

described = pytest.mark.parametrize("description", _DESCRIPTIONS)
Connect = Callable[[SteveSimulator], httpx.AsyncClient]
Build = Callable[..., SteveSimulator]


def properties(description: dict[str, Any], schema: str) -> dict[str, Any]:
    found: dict[str, Any] = description["components"]["schemas"][schema]["properties"]
    return found


@described
async def test_rows_have_exactly_the_described_fields(
    build: Build, connect: Connect, description: dict[str, Any]
) -> None:
    simulator = build(Profile.HEAD)
    rest = connect(simulator)
    await simulator.start_transaction("CB-1", 1, "TAG-1", start_value=0)
    simulator.meter_values(1, None, [{"value": "1"}])
    details = (await rest.get("/transactions/1")).json()
    operation = (await rest.post("/operations/ClearCache", json={"chargeBoxIdList": ["CB-1"]})).json()

    for row, schema in (
        ((await rest.get("/ocppTags/1")).json(), "OcppTagOverview"),
        (details, "TransactionDetails"),
        (details["transaction"], "Transaction"),
        (details["values"][0], "MeterValues"),
        (operation, "OcppOperationResponseClearCacheStatus"),
        (operation["successResponses"][0], "SuccessResponseClearCacheStatus"),
        ((await rest.get("/ocppTags/77")).json(), "ApiErrorResponse"),
    ):
        assert set(row) == set(properties(description, schema)), schema


@described
def test_operations_want_what_is_described(description: dict[str, Any]) -> None:
    prefix = "/api/v1/operations/"
    paths = {path.removeprefix(prefix): item for path, item in description["paths"].items() if path.startswith(prefix)}
    assert set(OPERATIONS) == set(paths)
    for name, item in paths.items():
        reference = item["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        form = description["components"]["schemas"][reference.rsplit("/", 1)[1]]
        ours = OPERATIONS[name].fields
        assert set(ours) <= set(form["properties"]), name
        assert {key for key, field in ours.items() if field.required} | {"chargeBoxIdList"} == set(form["required"])
        for key, field in ours.items():
            assert set(field.choices) == set(form["properties"][key].get("enum", field.choices)), (name, key)


@described
async def test_head_serves_every_described_path(build: Build, connect: Connect, description: dict[str, Any]) -> None:
    rest = connect(build(Profile.HEAD))
    for path, item in description["paths"].items():
        for method in item:
            url = path.removeprefix("/api/v1").replace("{ocppTagPk}", "1").replace("{transactionPk}", "1")
            response = await rest.request(method.upper(), url, content=b"{}" if method in ("post", "put") else None)
            assert "No static resource" not in response.text, (method, path)
