"""Every request of our Lago client is one that Lago's own API description has, down to the names of its filters.

Lago ignores a filter that it does not know and answers with everything. The description is not part of this repository
(AGPL); without it nothing is compared.
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from polaris_common.lago import LagoClient, LagoRefused
from polaris_common.lago.client import SUBSCRIPTION_STATUSES
from polaris_common.settings import LagoSettings

DESCRIPTION = Path(__file__).parents[3].parent / "shared" / "data" / "lago-openapi.yaml"
pytestmark = pytest.mark.skipif(not DESCRIPTION.exists(), reason="Lago's API description is not here")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@cache
def described() -> list[tuple[str, re.Pattern[str], frozenset[str]]]:
    """(method, path, names of the query) of every operation."""
    document = yaml.load(DESCRIPTION.read_text(), Loader=yaml.CSafeLoader)
    found = []
    for path, operations in document["paths"].items():
        shared = operations.get("parameters", [])
        for method, operation in operations.items():
            if method in {"get", "post", "put", "patch", "delete"}:
                parameters = [_resolved(document, each) for each in [*shared, *operation.get("parameters", [])]]
                names = frozenset(each["name"] for each in parameters if each["in"] == "query")
                found.append((method.upper(), re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), names))
    return found


def _resolved(document: Any, parameter: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in parameter:
        target = document
        for part in parameter["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        parameter = target
    return parameter


async def _all(items: AsyncIterator[object]) -> None:
    async for _ in items:
        pass


async def _ask_everything(client: LagoClient) -> None:
    for one in (
        client.event, client.customer, client.plan, client.billable_metric, client.invoice, client.fee, client.wallet,
        client.subscription,
    ):  # fmt: skip
        with pytest.raises(LagoRefused):
            await one("x")
    with pytest.raises(LagoRefused):
        await client.subscription("x", status="terminated")
    with pytest.raises(LagoRefused):
        await client.current_usage("c", "s")
    await _all(client.events(subscription="s", code="kwh", since=NOON, until=NOON))
    await client.has_events(code="kwh", since=NOON, until=NOON)
    for every in (client.customers(), client.plans(), client.billable_metrics(), client.wallets("c")):
        await _all(every)
    await _all(client.subscriptions(external_customer_id="c"))
    await _all(client.invoices(statuses=["draft"], payment_statuses=["failed"], issued_from=date(2026, 3, 1)))
    await client.ping()
    await client.send_events(["{}"])


async def test_every_request_and_every_filter_is_in_lagos_description() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        first, *rest = request.url.path.removeprefix("/api/v1/").split("/")
        if not rest or rest == ["batch"]:
            return httpx.Response(200, json={first: [{}] if rest else []})
        return httpx.Response(404, json={"status": 404, "error": "Not Found", "code": "x_not_found"})

    settings = LagoSettings(lago_api_url="http://lago.test", lago_api_key="key")
    client = LagoClient(settings, transport=httpx.MockTransport(answer))
    await _ask_everything(client)
    await client.close()

    unknown = []
    for request in asked:
        path, sent = request.url.path.removeprefix("/api/v1"), set(request.url.params)
        names = [known for method, shape, known in described() if method == request.method and shape.fullmatch(path)]
        if not any(sent <= known for known in names):
            unknown.append((request.method, path, sorted(sent)))
    assert unknown == []
    assert set(SUBSCRIPTION_STATUSES) == {"active", "pending", "canceled", "terminated"}
