"""A simulated Lago with one metric, one plan and one driver, and a client for it."""

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from polaris_sim.clock import SimClock
from polaris_sim.lago import EventStore, LagoConfig, LagoSimulator, create_app

DESCRIPTION = Path(__file__).parents[3].parent / "shared" / "data" / "lago-openapi.yaml"
collect_ignore = [] if DESCRIPTION.exists() else ["test_openapi.py"]

NOW = datetime(2026, 8, 21, 10, tzinfo=UTC)
METRIC = {
    "name": "Energy",
    "code": "ev_energy",
    "aggregation_type": "sum_agg",
    "field_name": "kwh",
    "filters": [
        {"key": "tariff_window", "values": ["peak", "offpeak"]},
        {"key": "power_class", "values": ["ac", "dc"]},
    ],
}
CHARGE = {"billable_metric_code": "ev_energy", "charge_model": "standard", "properties": {"amount": "0.40"}}
PLAN = {"name": "Standard", "code": "standard", "interval": "monthly", "amount_cents": 0, "amount_currency": "EUR"}


class Lago:
    """A furnished simulator and what a test does with it; the webhooks it sent are in ``received``."""

    def __init__(self, **config: object) -> None:
        self.clock = SimClock(NOW, speed=0)
        self.received: list[httpx.Request] = []
        self.webhook_answers: list[int | Exception] = []
        self.simulator = LagoSimulator(
            LagoConfig(clock=self.clock, webhook_transport=httpx.MockTransport(self._receive), **config)  # type: ignore[arg-type]
        )
        self.simulator.config.webhooks.retry_scale = 0
        self.app = create_app(self.simulator)
        self.api = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://lago.test/api/v1",
            headers={"authorization": "Bearer lago-sim-key"},
        )
        self.control = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://lago.test/_sim")
        self._numbers = itertools.count(1)

    def furnish(self) -> "Lago":
        """One metric, one plan, and DRIVER-1 subscribed as SUB-1 since 1 August."""
        self.simulator.seed({"billable_metrics": [METRIC], "plans": [{**PLAN, "charges": [CHARGE]}]})
        self.subscribe("SUB-1", "standard")
        return self

    def plan(self, *charges: dict[str, object], **fields: object) -> None:
        """Put a plan on the catalog."""
        self.simulator.seed({"plans": [{**PLAN, "charges": list(charges), **fields}]})

    def subscribe(self, external_id: str, plan: str, **fields: object) -> None:
        """Subscribe DRIVER-1, by default since 1 August."""
        subscription: dict[str, object] = {
            "external_customer_id": "DRIVER-1",
            "external_id": external_id,
            "plan_code": plan,
            "subscription_at": "2026-08-01T00:00:00Z",
            **fields,
        }
        self.simulator.seed({"customers": [{"external_id": "DRIVER-1"}], "subscriptions": [subscription]})

    def event(self, kwh: object = "1", *, at: str = "2026-08-21T09:00:00Z", **fields: Any) -> dict[str, Any]:
        """A valid event; ``fields`` change it, ``properties`` are added to the value."""
        properties = {"kwh": kwh, **fields.pop("properties", {})}
        return {
            "transaction_id": f"tx-{next(self._numbers)}",
            "external_subscription_id": "SUB-1",
            "code": "ev_energy",
            "timestamp": str(int(datetime.fromisoformat(at).timestamp())),
            "properties": properties,
            **fields,
        }

    async def send(self, *events: dict[str, Any]) -> httpx.Response:
        """``POST /events/batch``; decimals go out as JSON numbers."""
        body = json.dumps({"events": events}, default=float)
        return await self.api.post("/events/batch", content=body)

    async def usage(self, subscription: str = "SUB-1") -> dict[str, Any]:
        """The usage of the subscription's only charge."""
        response = await self.api.get(f"/customers/DRIVER-1/current_usage?external_subscription_id={subscription}")
        assert response.status_code == 200, response.text
        usage: dict[str, Any] = response.json()["customer_usage"]["charges_usage"][0]
        return usage

    async def units(self) -> Decimal:
        """What SUB-1 has used in its current period."""
        return Decimal((await self.usage())["units"])

    async def invoices(self, query: str = "") -> list[dict[str, Any]]:
        """All invoices, complete, newest first."""
        listed = (await self.api.get(f"/invoices?{query}")).json()["invoices"]
        return [(await self.api.get(f"/invoices/{one['lago_id']}")).json()["invoice"] for one in listed]

    def until(self, moment: str) -> None:
        """Set the clock."""
        self.clock.set(datetime.fromisoformat(moment))

    async def listen(self, **endpoint: object) -> None:
        """Register a webhook endpoint."""
        body = {"webhook_url": "http://bridge.test/hook", "signature_algo": "hmac", **endpoint}
        response = await self.api.post("/webhook_endpoints", json={"webhook_endpoint": body})
        assert response.status_code == 200, response.text

    async def webhooks(self) -> list[dict[str, Any]]:
        """Let the background jobs finish; the payloads in order of arrival."""
        await self.simulator.webhooks.settle()
        return [json.loads(request.content) for request in self.received]

    def _receive(self, request: httpx.Request) -> httpx.Response:
        self.received.append(request)
        answer = self.webhook_answers.pop(0) if self.webhook_answers else 200
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer)

    async def aclose(self) -> None:
        """Close the clients."""
        await self.simulator.aclose()
        await self.api.aclose()
        await self.control.aclose()


@pytest.fixture
async def lago() -> AsyncIterator[Lago]:
    """On Postgres."""
    lago = Lago().furnish()
    yield lago
    await lago.aclose()


@pytest.fixture
async def clickhouse() -> AsyncIterator[Lago]:
    """On ClickHouse."""
    lago = Lago(store=EventStore.CLICKHOUSE).furnish()
    yield lago
    await lago.aclose()


@pytest.fixture(params=list(EventStore))
async def either(request: pytest.FixtureRequest) -> AsyncIterator[Lago]:
    """On each store in turn."""
    lago = Lago(store=request.param).furnish()
    yield lago
    await lago.aclose()


@pytest.fixture
async def premium() -> AsyncIterator[Lago]:
    """With a licence and three days of grace."""
    lago = Lago(premium=True, invoice_grace_period=3).furnish()
    yield lago
    await lago.aclose()


@pytest.fixture
def serve() -> Callable[[ASGIApp], contextlib.AbstractAsyncContextManager[str]]:
    """Serves an app on a real socket; gives its base URL."""

    @contextlib.asynccontextmanager
    async def served(app: ASGIApp) -> AsyncIterator[str]:
        listener = socket.create_server(("127.0.0.1", 0))  # connections wait in its backlog until the server is up
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running

    return served
