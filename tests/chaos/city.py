"""A city that is emptied between examples: SteVe, Lago, the two workers of the money path, one clock."""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
from starlette.types import ASGIApp
from structlog.typing import EventDict

from billing_bridge.ledger.service import Ledger
from billing_bridge.mirror.service import Mirror
from billing_bridge.reconciliation.service import Reconciliation
from billing_bridge.safety.service import SafetyGate
from billing_bridge.sender.service import Sender
from billing_bridge.webhooks.service import WebhookInbox
from polaris_common.charging.meters import MeterRepository
from polaris_common.charging.samples import MeterValues
from polaris_common.db import Database
from polaris_common.domain.slicing import SlicePolicy
from polaris_common.ids import new_public_id
from polaris_common.lago import LagoClient
from polaris_common.lago.inbox import UNIQUE_KEY_HEADER, receive
from polaris_common.lago.signatures import WebhookVerifier
from polaris_common.migrations.runner import upgrade
from polaris_common.settings import DatabaseSettings, LagoSettings, SteveSettings
from polaris_common.steve import SteveClient
from polaris_sim.clock import SimClock
from polaris_sim.lago import EventStore, LagoConfig, LagoSimulator
from polaris_sim.lago import create_app as lago_app
from polaris_sim.lago.models import Subscription, SubscriptionStatus
from polaris_sim.steve import Profile, SteveConfig, SteveSimulator
from polaris_sim.steve import create_app as steve_app
from sync_worker.operations.service import RemoteOperations
from sync_worker.reservations.service import ReservationUpkeep
from sync_worker.runs.problems import STEVE_ERRORS
from sync_worker.runs.service import SyncRuns
from sync_worker.tags.service import TagSync
from sync_worker.transactions.service import TransactionSync
from tests.chaos.clock import NOON, REPLACED_NOW, CityClock
from tests.chaos.mortal import Ending, Killed, Lifeline, LostHints, MortalDatabase, MortalTransport

METRIC = "ev_charging_kwh"
FLAT, STANDARD, DEAR = "flat", "standard", "dear"
CUSTOMERS = ("anna", "ben")
SUBSCRIPTIONS = {"anna": ("anna-1", "anna-2"), "ben": ("ben-1",)}
LONG_AGO = "2020-01-01T00:00:00Z"
HMAC_KEY = "lago-sim-hmac-key"
POLICY = SlicePolicy(max_age=timedelta(minutes=15), max_wh=5_000)

Job = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Letter:
    """A webhook on its way."""

    body: bytes
    headers: dict[str, str]


class Worker:
    """One process of the money path; a new one after each death, with nothing remembered."""

    def __init__(self, database: MortalDatabase, app: ASGIApp) -> None:
        self.database = database
        database.lifeline = self.lifeline = Lifeline()
        self.transport = MortalTransport(self.lifeline, httpx.ASGITransport(app))
        self.hints = LostHints(self.lifeline)
        self.jobs: dict[str, Job] = {}

    async def do(self, job: str, *, steps: int | None = None, ending: Ending = Ending.KILLED) -> None:
        """Do a job, or ``steps`` steps of it."""
        self.lifeline.left, self.lifeline.ending, self.lifeline.reached = steps, ending, False
        try:
            await self.jobs[job]()
        except Killed:
            pass
        except (OSError, httpx.TransportError):
            if not self.lifeline.reached:
                raise
        finally:
            self.lifeline.left = None


class SyncWorker(Worker):
    """What ``python -m sync_worker`` does, job by job."""

    def __init__(self, city: "City", database: MortalDatabase) -> None:
        super().__init__(database, city.steve_app)
        self.client = SteveClient(
            SteveSettings(
                STEVE_BASE_URL="http://steve.test/steve", steve_api_username="polaris", steve_api_key="steve-password"
            ),
            transport=self.transport,
        )
        tags = TagSync(self.database, self.client)
        transactions = TransactionSync(self.database, self.client, self.hints)
        runs = SyncRuns(self.database, self.client, transactions, tags=tags)

        async def run() -> None:
            await runs.request_run("test")
            await runs.run_requested()

        async def sweep_tags() -> None:
            with suppress(*STEVE_ERRORS):
                await tags.sync_changed_mappings()

        self.jobs = {
            "live_poll": runs.live_poll,
            "run": run,
            "tag_sweep": sweep_tags,
            "reservations": ReservationUpkeep(self.database, self.hints).sweep,
            "operations": RemoteOperations(self.database, self.client, transactions.capabilities).run_due,
        }


class BillingBridge(Worker):
    """What ``python -m billing_bridge`` does, job by job."""

    def __init__(self, city: "City", database: MortalDatabase) -> None:
        super().__init__(database, city.lago_app)
        self.client = LagoClient(
            LagoSettings(lago_api_url="http://lago.test", lago_api_key="lago-key"), transport=self.transport
        )
        ledger = Ledger(self.database, self.hints, policy=POLICY, metric_code=METRIC)
        gate = SafetyGate(self.database, self.client, METRIC)
        mirror = Mirror(self.database, self.client, ledger, gate)
        self.jobs = {
            "bill_due": ledger.bill_due,
            "bill_held": ledger.bill_held,
            "send_due": Sender(self.database, self.client, city.clock, gate).send_due,
            "refresh": mirror.refresh,
            "sweep": mirror.sweep_due,
            "inbox": WebhookInbox(self.database, mirror, gate).process_due,
            "reconcile": Reconciliation(self.database, self.client, metric_code=METRIC).check,
        }


SYNC_JOBS = ("live_poll", "run", "tag_sweep")
UPKEEP_JOBS = ("reservations", "operations")
"""The sync-worker's as well, of no concern to money."""
BRIDGE_JOBS = ("bill_due", "bill_held", "send_due", "refresh", "sweep", "inbox", "reconcile")


class City:
    """Everything that an example touches. ``begin`` empties it."""

    steve: SteveSimulator
    lago: LagoSimulator
    steve_app: ASGIApp
    lago_app: ASGIApp
    sync: SyncWorker
    bridge: BillingBridge
    letters: list[Letter]
    logs: list[EventDict]
    """What everybody has logged."""
    delivered: set[str]
    """The keys of the webhooks that have arrived."""
    flat_rates: bool
    """Whether anybody ever had a plan without a charge for energy."""

    def __init__(self, connection: "asyncpg.Connection[Any]", url: str, store: EventStore) -> None:
        self.connection, self.store, self.clock = connection, store, CityClock(connection)
        self._name, self._spare = _asyncpg_name(url), list["asyncpg.Connection[Any]"]()
        settings = DatabaseSettings(database_url=url)
        self.gateway = Database(settings, application_name="chaos-gateway")
        self.sync_database = MortalDatabase(settings, application_name="chaos-sync")
        self.bridge_database = MortalDatabase(settings, application_name="chaos-bridge")
        self.other_database = MortalDatabase(settings, application_name="chaos-other")
        self._verifier = WebhookVerifier(hmac_secret=HMAC_KEY)
        self._emptied = ""
        self.logs = []

    @classmethod
    async def build(cls, url: str, store: EventStore) -> "City":
        """Build on an empty database."""
        name = _asyncpg_name(url)
        connection = await asyncpg.connect(name)
        await connection.execute(REPLACED_NOW)
        database = await connection.fetchval("SELECT current_database()")
        await connection.execute(f'ALTER DATABASE "{database}" SET search_path = public, shifted, pg_catalog')
        await connection.execute(f'ALTER DATABASE "{database}" SET synchronous_commit = off')
        await connection.close()
        city = cls(await asyncpg.connect(name), url, store)
        await upgrade(city.gateway)
        await city._learn_to_empty()
        return city

    async def close(self) -> None:
        """Close every connection."""
        await self.end()
        for database in (self.gateway, self.sync_database, self.bridge_database, self.other_database):
            await database.close()
        for connection in (self.connection, *self._spare):
            await connection.close()

    async def begin(self) -> None:
        """A new example: nobody has charged, nobody pays, it is noon."""
        await self.connection.execute(self._emptied)
        await self.clock.begin()
        self.logs.clear()
        self.letters, self.delivered, self.flat_rates = [], set(), False
        self.steve = SteveSimulator(
            SteveConfig(profile=Profile.V3_12_FORK, api_password="steve-password", clock=self.clock)
        )
        self.lago = LagoSimulator(
            LagoConfig(
                api_key="lago-key",
                store=self.store,
                clock=SimClock(NOON),
                webhook_url="http://gateway.test/api/webhook/lago",
                webhook_secret=HMAC_KEY,
                webhook_transport=httpx.MockTransport(self._post),
            )
        )
        self.lago.seed(
            {
                "billable_metrics": [
                    {"name": "kWh", "code": METRIC, "aggregation_type": "sum_agg", "field_name": "value"}
                ],
                "plans": [_plan(STANDARD, 1_000), _plan(DEAR, 5_000), _plan(FLAT, 4_900, charges=False)],
            }
        )
        self.steve_app, self.lago_app = steve_app(self.steve), lago_app(self.lago)
        self.sync = SyncWorker(self, self.sync_database)
        self.bridge = BillingBridge(self, self.bridge_database)

    async def end(self) -> None:
        """Close what an example has opened."""
        if hasattr(self, "steve"):
            await self.sync.client.close()
            await self.bridge.client.close()
            await self.steve.aclose()
            await self.lago.aclose()

    async def restart(self, *, everyone: bool = False) -> None:
        """Whoever is dead starts again; ``everyone``: whoever is alive too."""
        if everyone or self.sync.lifeline.dead:
            await self.sync.client.close()
            self.sync = SyncWorker(self, self.sync_database)
        if everyone or self.bridge.lifeline.dead:
            await self.bridge.client.close()
            self.bridge = BillingBridge(self, self.bridge_database)

    async def do(self, job: str, *, steps: int | None = None, ending: Ending = Ending.KILLED) -> None:
        """Let the worker whose job it is do it; a dead worker starts again first."""
        await self.restart()
        self.lago.roll_over()
        before = asyncio.all_tasks()
        await self.worker_of(job).do(job, steps=steps, ending=ending)
        await self.lago.webhooks.settle()
        left = [task for task in asyncio.all_tasks() - before if inspect.iscoroutine(task.get_coro())]
        assert not left, f"{job} has ended, and yet there goes on: {left}"

    async def do_twice_at_once(self, job: str, *, steps: int | None, ending: Ending) -> None:
        """Two workers of a kind do the same job side by side; one of them may not get to its end."""
        await self.restart()
        other = (BillingBridge if job in BRIDGE_JOBS else SyncWorker)(self, self.other_database)
        try:
            await asyncio.gather(self.worker_of(job).do(job, steps=steps, ending=ending), other.do(job))
        finally:
            await other.client.close()
        await self.lago.webhooks.settle()

    def worker_of(self, job: str) -> Worker:
        """Whose job it is."""
        return self.bridge if job in BRIDGE_JOBS else self.sync

    async def store_meter_values(self, values: Sequence[MeterValues]) -> None:
        """The gateway gets meter values."""
        async with self.gateway.unit_of_work() as uow:
            await MeterRepository(uow).store(values)

    async def deliver(self, letter: Letter) -> None:
        """The gateway gets a webhook."""
        await receive(self.gateway, self._verifier, letter.body, letter.headers)
        self.delivered.add(letter.headers[UNIQUE_KEY_HEADER])

    async def pass_minutes(self, minutes: int) -> None:
        """So much time passes everywhere."""
        await self.clock.pass_minutes(minutes)
        self.lago.config.clock.advance(minutes * 60)

    async def repair(self) -> None:
        """SteVe and Lago work again, all workers have just started, and the night's pass is due."""
        self.steve.faults.replace([])
        self.lago.config.faults.replace([])
        self.lago.config.clock.set(self.clock.now())
        await self.clock.agree()
        await self.restart(everyone=True)
        await self.execute("UPDATE sync_schedule SET nightly_pass_on = NULL")

    def subscribe(self, subscription: str, plan: str) -> None:
        """A customer subscribes, or changes the plan of what runs. What comes after the first begins now."""
        self.flat_rates = self.flat_rates or plan == FLAT
        first = subscription not in self.lago.organization.subscriptions
        self.lago.subscriptions.create(
            {
                "external_customer_id": subscription.partition("-")[0],
                "external_id": subscription,
                "plan_code": plan,
                **({"subscription_at": LONG_AGO} if first else {}),
            }
        )

    async def link(self, card: str, customer: str) -> None:
        """One of our operators gives a card to a customer."""
        user = await self.connection.fetchval(
            "INSERT INTO users (public_id, email, role) VALUES ($1, $2, 'customer')"
            " ON CONFLICT (lower(email)) DO UPDATE SET role = 'customer' RETURNING id",
            new_public_id(),
            f"{customer}@example.com",
        )
        await self.execute(
            "INSERT INTO tag_mappings (id_tag, user_id, lago_customer_external_id) VALUES ($1, $2, $3)"
            " ON CONFLICT (lower(id_tag)) DO UPDATE SET user_id = $2, lago_customer_external_id = $3",
            card,
            user,
            customer,
        )

    async def switch(self, card: str, *, on: bool, reason: str | None = None) -> None:
        """Somebody switches a card off, or on again."""
        await self.execute(
            "UPDATE tag_mappings SET is_active = $2, deactivation_reason = $3,"
            " deactivated_at = CASE WHEN $2 THEN NULL ELSE now() END WHERE id_tag = $1",
            card,
            on,
            None if on else reason,
        )

    @asynccontextmanager
    async def raw(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        """Another connection, past our code: everybody who asks at once has one of their own."""
        connection = self._spare.pop() if self._spare else await asyncpg.connect(self._name)
        try:
            yield connection
        finally:
            self._spare.append(connection)

    def refused(self) -> bool:
        """Whether the database has refused a session's books. Then only that session waits, but nobody should try."""
        return any(entry["event"] == "session_not_billed" for entry in self.logs)

    async def execute(self, statement: str, *values: object) -> None:
        """Run SQL."""
        await self.connection.execute(statement, *values)

    async def rows(self, query: str, *values: object) -> Sequence[Any]:
        """The rows of a query."""
        found: Sequence[Any] = await self.connection.fetch(query, *values)
        return found

    def active_subscription(self, external_id: str) -> Subscription | None:
        """The subscription that runs under that id in Lago."""
        chain = self.lago.organization.subscriptions.get(external_id, [])
        return next((each for each in chain if each.status is SubscriptionStatus.ACTIVE), None)

    def accepted_wh(self) -> dict[int, int]:
        """What Lago has accepted of each transaction, in Wh, as its store keeps it."""
        sums: dict[int, int] = {}
        for _, events in self.lago.organization.events.counted():
            for each in events:
                transaction = int(str(each.properties["session_id"]))
                sums[transaction] = sums.get(transaction, 0) + _wh(str(each.properties["value"]))
        return sums

    async def _post(self, request: httpx.Request) -> httpx.Response:
        self.letters.append(Letter(request.content, dict(request.headers)))
        return httpx.Response(200)

    async def _learn_to_empty(self) -> None:
        """What a fresh database contains is copied; triggers and foreign keys do not watch the emptying."""
        query = (
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition AND relname <> 'alembic_version' ORDER BY relname"
        )
        tables = [row["relname"] for row in await self.connection.fetch(query)]
        statements = ["BEGIN", "SET LOCAL session_replication_role = replica"]
        statements += [f"DELETE FROM {table}" for table in tables]  # noqa: S608
        for table in tables:
            if await self.connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})"):  # noqa: S608
                await self.connection.execute(f"CREATE TABLE shifted.{table} AS TABLE {table}")
                statements.append(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM shifted.{table}")  # noqa: S608
        self._emptied = ";".join([*statements, "COMMIT"])


def _asyncpg_name(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


def _plan(code: str, amount: int, *, charges: bool = True) -> dict[str, object]:
    charge = {"billable_metric_code": METRIC, "charge_model": "standard", "properties": {"amount": "0.3"}}
    return {
        "name": code,
        "code": code,
        "interval": "monthly",
        "amount_cents": amount,
        "charges": [charge] if charges else [],
    }


def _wh(kwh: str) -> int:
    whole, _, rest = kwh.lstrip("-").partition(".")
    wh = int(whole) * 1_000 + int(rest.ljust(3, "0"))
    return -wh if kwh.startswith("-") else wh


def content(body: str) -> tuple[str, str, str, int, dict[str, str]]:
    """What of an event's JSON text Lago keeps; its time in microseconds."""
    event = json.loads(body)
    stamp = int(Decimal(event["timestamp"]) * 1_000_000)
    return event["transaction_id"], event["external_subscription_id"], event["code"], stamp, event["properties"]
