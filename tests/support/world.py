"""The test's city: real PostgreSQL and Redis, the workers in process, SteVe and Lago as simulators."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx

from billing_bridge.ledger.service import Ledger
from billing_bridge.mirror.service import Mirror
from billing_bridge.provisioning.service import CustomerAccounts
from billing_bridge.reconciliation.service import Reconciliation
from billing_bridge.safety.service import SafetyGate
from billing_bridge.sender.service import Sender
from billing_bridge.webhooks.service import WebhookInbox
from polaris_common.charging.meters import MeterRepository
from polaris_common.charging.samples import MeterValues, Sample
from polaris_common.clock import SystemClock
from polaris_common.db import Database
from polaris_common.domain.slicing import SlicePolicy
from polaris_common.ids import new_public_id
from polaris_common.jobs import Jobs
from polaris_common.lago import LagoClient
from polaris_common.models import TagMapping, User
from polaris_common.settings import LagoSettings, RedisSettings, SteveSettings
from polaris_common.steve import SteveClient
from polaris_sim.clock import SimClock
from polaris_sim.lago import EventStore, LagoConfig, LagoSimulator
from polaris_sim.lago import create_app as lago_app
from polaris_sim.steve import Profile, SteveConfig, SteveSimulator
from polaris_sim.steve import create_app as steve_app
from sync_worker.runs.service import SyncRuns
from sync_worker.transactions.service import TransactionSync
from tests.support.sql import WithDatabase

METRIC = "ev_charging_kwh"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class DriverInWorld:
    """One driver with a card, a customer and (unless told otherwise) a subscription."""

    card: str
    customer: str
    subscription: str
    user_id: UUID
    mapping_id: int


@dataclass
class World(WithDatabase):
    """Everything a test of the money path touches."""

    steve: SteveSimulator
    lago: LagoSimulator
    transactions: TransactionSync
    runs: SyncRuns
    ledger: Ledger
    sender: Sender
    mirror: Mirror
    inbox: WebhookInbox
    accounts: CustomerAccounts
    gate: SafetyGate
    reconciliation: Reconciliation
    client: LagoClient
    _drivers: int = field(default=0)
    _register: int = field(default=100_000)

    async def driver(self, *, subscribed: bool = True, mapped: bool = True, **mapping: Any) -> DriverInWorld:
        """A new driver whose card SteVe knows."""
        self._drivers += 1
        number = self._drivers
        card, customer, subscription = f"CARD{number:04d}", f"customer-{number}", f"subscription-{number}"
        self.steve.add_tag(card, max_active_transaction_count=-1)
        self.lago.seed({"customers": [{"external_id": customer, "name": f"Driver {number}"}]})
        if subscribed:
            self.subscribe(customer, subscription)
            await self.mirror.refresh()
        async with self.database.unit_of_work() as uow:
            user = User(public_id=new_public_id(), email=f"driver{number}@example.com", role="customer")
            uow.session.add(user)
            await uow.session.flush()
        driver = DriverInWorld(card, customer, subscription, user.id, 0)
        return await self.map(driver, **mapping) if mapped else driver

    async def map(self, driver: DriverInWorld, **columns: Any) -> DriverInWorld:
        """Link the driver's card to the customer."""
        async with self.database.unit_of_work() as uow:
            mapping = TagMapping(
                id_tag=driver.card, user_id=driver.user_id, lago_customer_external_id=driver.customer, **columns
            )
            uow.session.add(mapping)
            await uow.session.flush()
        return DriverInWorld(driver.card, driver.customer, driver.subscription, driver.user_id, mapping.id)

    def subscribe(self, customer: str, subscription: str) -> None:
        """Give a customer a subscription that began long ago."""
        self.lago.seed(
            {
                "subscriptions": [
                    {
                        "external_customer_id": customer,
                        "external_id": subscription,
                        "plan_code": "standard",
                        "subscription_at": "2020-01-01T00:00:00Z",
                    }
                ]
            }
        )

    async def start(self, card: str, *, wh: str | int = 1_000, box: str = "CP-1", at: datetime = NOON) -> int:
        """A car begins to charge; SteVe's transaction id."""
        self.steve.add_charge_box(box)
        return (await self.steve.start_transaction(box, 1, card, start_value=wh, timestamp=at)).transaction_id

    async def read(self, transaction: int, *readings: tuple[float, int]) -> None:
        """Meter values arrive: (minutes after noon, Wh on the register)."""
        values = [
            MeterValues(transaction, "CP-1", 1, NOON + timedelta(minutes=minutes), (Sample(str(wh)),))
            for minutes, wh in readings
        ]
        async with self.database.unit_of_work() as uow:
            await MeterRepository(uow).store(values)

    def stop(self, transaction: int, wh: str | int, *, minutes: float = 60, actor: str = "station") -> None:
        """SteVe gets a stop."""
        self.steve.stop_transaction(transaction, wh, NOON + timedelta(minutes=minutes), actor=actor)

    async def charge(self, card: str, wh: int) -> int:
        """A whole session of ``wh`` without readings; the register goes on from the last one."""
        start, self._register = self._register, self._register + wh
        transaction = await self.start(card, wh=start)
        self.stop(transaction, start + wh)
        return transaction

    async def settle(self) -> None:
        """Let sync, ledger and sender do all that there is to do now."""
        await self.runs.live_poll()
        await self.ledger.bill_due()
        await self.deliver()

    async def deliver(self) -> None:
        """Send what waits, whatever its back-off."""
        await self.execute("UPDATE lago_events SET next_attempt_at = now() WHERE status = 'pending'")
        await self.sender.send_due()

    def billed_wh(self, subscription: str) -> int:
        """What Lago has counted, in Wh."""
        return int(self.lago.units(subscription, METRIC) * Decimal(1000))

    async def session(self, transaction: int) -> Any:
        """A session with billing's decision."""
        return await self.row(
            "SELECT s.*, b.status AS billing, b.reason, b.billed_wh FROM charging_sessions s"
            " LEFT JOIN session_billing b ON b.session_id = s.id WHERE s.steve_transaction_id = :id",
            id=transaction,
        )


@asynccontextmanager
async def build_world(
    database: Database,
    redis: RedisSettings,
    *,
    profile: Profile = Profile.V3_12_FORK,
    store: EventStore = EventStore.POSTGRES,
) -> AsyncIterator[World]:
    """A city with nobody in it."""
    steve = SteveSimulator(SteveConfig(profile=profile, api_password="steve-password"))
    lago = LagoSimulator(LagoConfig(api_key="lago-key", store=store, clock=SimClock(NOON, speed=0)))
    lago.seed(
        {
            "billable_metrics": [{"name": "kWh", "code": METRIC, "aggregation_type": "sum_agg", "field_name": "value"}],
            "plans": [
                {
                    "name": "Standard",
                    "code": "standard",
                    "interval": "monthly",
                    "amount_cents": 0,
                    "charges": [
                        {"billable_metric_code": METRIC, "charge_model": "standard", "properties": {"amount": "0.3"}}
                    ],
                }
            ],
        }
    )
    steve_client = SteveClient(
        SteveSettings(
            STEVE_BASE_URL="http://steve.test/steve", steve_api_username="polaris", steve_api_key="steve-password"
        ),
        transport=httpx.ASGITransport(steve_app(steve)),
    )
    lago_client = LagoClient(
        LagoSettings(lago_api_url="http://lago.test", lago_api_key="lago-key"),
        transport=httpx.ASGITransport(lago_app(lago)),
    )
    jobs = Jobs(redis)
    gate = SafetyGate(database, lago_client, METRIC)
    transactions = TransactionSync(database, steve_client, jobs)
    ledger = Ledger(database, jobs, policy=SlicePolicy(), metric_code=METRIC)
    yield World(
        database=database,
        steve=steve,
        lago=lago,
        transactions=transactions,
        runs=SyncRuns(database, steve_client, transactions),
        ledger=ledger,
        sender=Sender(database, lago_client, SystemClock(), gate),
        mirror=(mirror := Mirror(database, lago_client, ledger, gate)),
        inbox=WebhookInbox(database, mirror, gate),
        accounts=CustomerAccounts(database, lago_client),
        gate=gate,
        reconciliation=Reconciliation(database, lago_client, metric_code=METRIC),
        client=lago_client,
    )
    await steve_client.close()
    await lago_client.close()
    await jobs.close()
    await steve.aclose()
    await lago.aclose()
