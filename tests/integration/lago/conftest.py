"""A town with a simulated Lago that can send its webhooks to our inbox, and a Lago that says what it is told."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.support.sql import WithDatabase

from billing_bridge.ledger.service import Ledger
from billing_bridge.mirror.service import Mirror
from billing_bridge.provisioning.service import CustomerAccounts
from billing_bridge.safety.service import SafetyGate
from billing_bridge.sender.service import Sender
from billing_bridge.webhooks.service import WebhookInbox
from polaris_common.clock import SystemClock
from polaris_common.db import Database
from polaris_common.domain.slicing import SlicePolicy
from polaris_common.ids import new_public_id
from polaris_common.jobs import Jobs
from polaris_common.lago import LagoClient
from polaris_common.lago.inbox import WebhookMalformed, WebhookNotStored, receive
from polaris_common.lago.signatures import SignatureInvalid, SignatureMissing, WebhookVerifier
from polaris_common.models import TagMapping, User
from polaris_common.settings import DatabaseSettings, LagoSettings, RedisSettings
from polaris_sim.clock import SimClock
from polaris_sim.lago import LagoConfig, LagoSimulator
from polaris_sim.lago import create_app as lago_app
from polaris_sim.lago.models import SubscriptionStatus

METRIC = "ev_charging_kwh"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HMAC_KEY = "lago-sim-hmac-key"
ENDPOINT = "http://gateway.test/api/webhook/lago"
LAGO = LagoSettings(lago_api_url="http://lago.test", lago_api_key="lago-key")


@dataclass
class Town(WithDatabase):
    """The billing-bridge and a simulated Lago; nobody charges here, so there is no SteVe."""

    lago: LagoSimulator
    ledger: Ledger
    sender: Sender
    mirror: Mirror
    inbox: WebhookInbox
    accounts: CustomerAccounts
    gate: SafetyGate

    def customer(self, external_id: str = "c-1", **fields: Any) -> str:
        """A customer of Lago, new or changed."""
        self.lago.customers.upsert({"external_id": external_id, **fields})
        return external_id

    def subscribe(self, customer: str, subscription: str, plan: str = "standard") -> None:
        """A subscription that began long ago; or, under a name that runs already, another plan."""
        self.lago.subscriptions.create(
            {
                "external_customer_id": customer,
                "external_id": subscription,
                "plan_code": plan,
                "subscription_at": "2020-01-01T00:00:00Z",
            }
        )

    def terminate(self, subscription: str) -> None:
        """End a subscription."""
        self.lago.subscriptions.terminate(
            self.lago.organization.subscription(subscription, SubscriptionStatus.ACTIVE), invoice="skip"
        )

    async def user(self, **columns: Any) -> UUID:
        """A portal user."""
        async with self.database.unit_of_work() as uow:
            user = User(public_id=new_public_id(), **{"role": "customer", **columns})
            uow.session.add(user)
            await uow.session.flush()
        return user.id

    async def card(self, customer: str | None, id_tag: str = "CARD1", **columns: Any) -> int:
        """A card of a customer; its mapping."""
        async with self.database.unit_of_work() as uow:
            mapping = TagMapping(id_tag=id_tag, lago_customer_external_id=customer, **columns)
            uow.session.add(mapping)
            await uow.session.flush()
        return mapping.id

    async def charging(self, mapping: int, transaction: int, *, id_tag: str = "CARD1") -> None:
        """A session that runs on a card."""
        await self.execute(
            "INSERT INTO charging_sessions (steve_transaction_id, charge_box_id, connector_id, id_tag, started_at,"
            " start_wh, tag_mapping_id) VALUES (:tx, 'CP-1', 1, :tag, now(), 0, :mapping)",
            tx=transaction,
            tag=id_tag,
            mapping=mapping,
        )

    async def events(self, kind: str) -> list[dict[str, Any]]:
        """The payloads of all domain events of one type, oldest first."""
        query = "SELECT payload FROM domain_events WHERE type = :kind ORDER BY created_at, id"
        return [row.payload for row in await self.rows(query, kind=kind)]

    async def notices(self) -> list[str]:
        """The kinds of all notices to operators."""
        return [event["kind"] for event in await self.events("operator.notice")]

    async def health(self, component: str) -> str | None:
        """What is wrong with a component."""
        row = await self.row("SELECT error FROM component_health WHERE component = :name", name=component)
        error: str | None = row.error
        return error


@pytest.fixture
async def town(database: Database, redis_settings: RedisSettings) -> AsyncIterator[Town]:
    """A town whose Lago has our metric and one plan that charges for it."""
    lago = LagoSimulator(LagoConfig(api_key="lago-key", clock=SimClock(NOON, speed=0)))
    charge = {"billable_metric_code": METRIC, "charge_model": "standard", "properties": {"amount": "0.3"}}
    metric = {"name": "kWh", "code": METRIC, "aggregation_type": "sum_agg", "field_name": "value"}
    plan = {"name": "Standard", "code": "standard", "interval": "monthly", "amount_cents": 1_000, "charges": [charge]}
    lago.seed({"billable_metrics": [metric], "plans": [plan, {**plan, "code": "dear", "amount_cents": 5_000}]})
    client = LagoClient(LAGO, transport=httpx.ASGITransport(lago_app(lago)))
    jobs = Jobs(redis_settings)
    ledger = Ledger(database, jobs, policy=SlicePolicy(), metric_code=METRIC)
    gate = SafetyGate(database, client, METRIC)
    mirror = Mirror(database, client, ledger, gate)
    sender = Sender(database, client, SystemClock(), gate)
    inbox, accounts = WebhookInbox(database, mirror, gate), CustomerAccounts(database, client)
    yield Town(database, lago, ledger, sender, mirror, inbox, accounts, gate)
    await client.close()
    await jobs.close()
    await lago.aclose()


@dataclass
class Post:
    """Lago's webhooks and what becomes of them."""

    town: Town
    answers: list[int] = field(default_factory=list)
    database: Database | None = None
    """Where the inbox is; another one when the test says so."""

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """What the gateway's endpoint does."""
        verifier = WebhookVerifier(hmac_secret=HMAC_KEY)
        try:
            await receive(self.database or self.town.database, verifier, request.content, request.headers)
            status = 200
        except (SignatureInvalid, SignatureMissing):
            status = 401
        except WebhookMalformed:
            status = 200
        except WebhookNotStored:
            status = 503
        self.answers.append(status)
        return httpx.Response(status)

    async def arrive(self) -> None:
        """Let Lago send what it has to say."""
        await self.town.lago.webhooks.settle()

    async def settle(self) -> None:
        """Let it arrive and be worked off."""
        await self.arrive()
        await self.work()

    async def work(self) -> None:
        """Work off the inbox, whatever its back-off."""
        await self.town.execute("UPDATE lago_webhook_events SET next_attempt_at = now() WHERE status = 'pending'")
        await self.town.inbox.process_due()

    async def send(self, kind: str, object_type: str, content: dict[str, Any]) -> None:
        """Let Lago send one webhook, and work it off."""
        await self.town.lago.webhooks.send(kind, object_type, content)
        await self.work()

    async def statuses(self) -> list[str]:
        """How far each webhook got."""
        return [row.status for row in await self.town.rows("SELECT status FROM lago_webhook_events ORDER BY id")]


@pytest.fixture
async def post(town: Town) -> Post:
    """The town's Lago sends its webhooks, signed, to our inbox."""
    built = Post(town)
    town.lago.config.webhook_transport = httpx.MockTransport(built.answer)
    town.lago.config.webhooks.retry_scale = 0
    town.lago.webhooks.register({"webhook_url": ENDPOINT, "signature_algo": "hmac"}, town.lago.organization.now())
    return built


@pytest.fixture
async def away() -> AsyncIterator[Database]:
    """A database that nobody answers for."""
    settings = DatabaseSettings(database_url="postgresql://nobody:nothing@127.0.0.1:1/nowhere")
    pool = Database(settings, application_name="test")
    yield pool
    await pool.close()


@dataclass
class ToldLago:
    """A Lago that answers lists and objects exactly as it is told; whatever is not told is a 404 in Lago's words."""

    lists: dict[str, list[Any]] = field(default_factory=dict)
    objects: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    """Paths (with query, as a part of the address) that are answered with a status."""
    asked: list[str] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """One answer."""
        address, path = str(request.url), request.url.path.removeprefix("/api/v1/")
        self.asked.append(path)
        for part, status in self.refused.items():
            if part in address:
                return httpx.Response(status, json={"status": status})
        if path in self.objects:
            return _json({path.partition("/")[0].rstrip("s"): self.objects[path]})
        if "/" in path:
            code = f"{path.partition('/')[0].rstrip('s')}_not_found"
            return httpx.Response(404, json={"status": 404, "error": "Not Found", "code": code})
        page, size = int(request.url.params.get("page", 1)), int(request.url.params.get("per_page", 100))
        items = self.lists.get(path, [])
        return _json({path: items[(page - 1) * size : page * size]})


def _json(body: object) -> httpx.Response:
    return httpx.Response(200, content=json.dumps(body).encode())


@pytest.fixture
def told() -> ToldLago:
    """A Lago that has our metric and nothing else."""
    metric = {
        "lago_id": "m-1", "code": METRIC, "aggregation_type": "sum_agg", "field_name": "value", "recurring": False,
    }  # fmt: skip
    return ToldLago(lists={"billable_metrics": [metric]}, objects={f"billable_metrics/{METRIC}": metric})


@pytest.fixture
async def told_mirror(town: Town, told: ToldLago) -> AsyncIterator[Mirror]:
    """A mirror of the Lago that says what it is told, in the town's database."""
    client = LagoClient(LAGO, transport=httpx.MockTransport(told.answer))
    yield Mirror(town.database, client, town.ledger, SafetyGate(town.database, client, METRIC))
    await client.close()
