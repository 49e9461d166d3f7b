"""A SteVe with chargers, our database, and the sync-worker between them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from polaris_common.charging.meters import MeterRepository
from polaris_common.charging.samples import MeterValues, Sample
from polaris_common.charging.schedule import ScheduleRepository
from polaris_common.charging.sync_runs import trigger_run
from polaris_common.db import Database
from polaris_common.domain.cadence import CadencePolicy, Tier
from polaris_common.domain.session_state import Limits
from polaris_common.jobs import Jobs
from polaris_common.settings import RedisSettings, SteveSettings
from polaris_common.steve import SteveClient
from polaris_sim.steve import Profile, SteveConfig, SteveSimulator, create_app
from sync_worker.runs.service import SyncRuns
from sync_worker.transactions.service import TransactionSync
from tests.support.sql import WithDatabase

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CARD = "CARD0001"

Listener = Callable[[str], Awaitable[None]]


@dataclass
class Requests:
    """What SteVe was asked, and what happens right before it hears a request."""

    app: ASGIApp
    paths: list[str] = field(default_factory=list)
    before: Listener | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note a request and pass it on."""
        path = scope["path"].removeprefix("/steve/api/v1")
        self.paths.append(f"{path}?{scope['query_string'].decode()}")
        if self.before is not None:
            await self.before(path)
        await self.app(scope, receive, send)


@dataclass
class Site(WithDatabase):
    """Everything a test of the sync-worker touches."""

    steve: SteveSimulator
    requests: Requests
    client: SteveClient
    jobs: Jobs
    transactions: TransactionSync
    runs: SyncRuns

    def restarted(self, *, policy: CadencePolicy | None = None, limits: Limits | None = None) -> "Site":
        """The same site with a worker that has just started and remembers nothing."""
        transactions = TransactionSync(self.database, self.client, self.jobs, limits=limits)
        runs = SyncRuns(self.database, self.client, transactions, policy=policy)
        return Site(self.database, self.steve, self.requests, self.client, self.jobs, transactions, runs)

    async def start(
        self, wh: str | int = 1_000, *, box: str = "CP-1", connector: int = 1, card: str = CARD, at: datetime = NOON
    ) -> int:
        """A car begins to charge; SteVe's transaction id."""
        self.steve.add_charge_box(box)
        return (await self.steve.start_transaction(box, connector, card, start_value=wh, timestamp=at)).transaction_id

    def stop(self, transaction: int, wh: str | int, *, minutes: float = 60, actor: str = "station") -> None:
        """SteVe gets a stop, so many minutes after noon."""
        self.steve.stop_transaction(transaction, wh, NOON + timedelta(minutes=minutes), actor=actor)

    async def charge(self, wh: int = 1_000, **start: Any) -> int:
        """A whole session."""
        transaction = await self.start(0, **start)
        began = self.steve.transaction(transaction).start_timestamp
        self.steve.stop_transaction(transaction, wh, began + timedelta(hours=1))
        return transaction

    async def run(self, trigger: str = "test") -> Any:
        """A whole run; its row."""
        run_id = await self.runs.request_run(trigger)
        await self.runs.run_requested()
        return await self.row("SELECT * FROM sync_runs WHERE id = :id", id=run_id)

    async def trigger(self) -> int:
        """An operator wants a run."""
        async with self.database.unit_of_work() as uow:
            return await trigger_run(uow)

    async def pin(self, tier: Tier, hours: int = 1) -> None:
        """An operator holds the fleet at a tier."""
        async with self.database.unit_of_work() as uow:
            await ScheduleRepository(uow).pin(tier, timedelta(hours=hours))

    async def read(self, transaction: int, *readings: tuple[float, int], context: str = "") -> None:
        """Meter values arrive: (minutes after noon, Wh on the register)."""
        values = [
            MeterValues(transaction, "CP-1", 1, NOON + timedelta(minutes=minutes), (Sample(str(wh), context=context),))
            for minutes, wh in readings
        ]
        async with self.database.unit_of_work() as uow:
            await MeterRepository(uow).store(values)

    async def session(self, transaction: int) -> Any:
        """Our row of a transaction."""
        return await self.row("SELECT * FROM charging_sessions WHERE steve_transaction_id = :id", id=transaction)

    async def state(self, transaction: int) -> tuple[str, str | None]:
        """Where a session stands, and why if it is set aside."""
        session = await self.session(transaction)
        return session.state, session.quarantine_reason

    async def segment(self, run_id: int, name: str) -> Any:
        """A segment of a run."""
        return await self.row(
            "SELECT * FROM sync_run_segments WHERE sync_run_id = :run AND segment = :name", run=run_id, name=name
        )

    async def tiers(self) -> dict[str, str]:
        """The tier of every charge box."""
        return {row.charge_box_id: row.tier for row in await self.rows("SELECT * FROM charger_cadence")}

    async def fleet(self) -> str:
        """The fleet's tier."""
        return str((await self.row("SELECT tier FROM sync_schedule")).tier)

    async def in_operation(self) -> None:
        """The worker has been running for a while: SteVe's whole table has been read once."""
        await self.run()
        await self.execute("UPDATE sync_schedule SET nightly_pass_on = (now() AT TIME ZONE 'UTC')::date")
        self.requests.paths.clear()


@asynccontextmanager
async def build_site(
    database: Database, redis: RedisSettings, profile: Profile = Profile.V3_12_FORK, **config: Any
) -> AsyncIterator[Site]:
    """A site with one card and no history."""
    steve = SteveSimulator(SteveConfig(profile=profile, api_password="steve-password", **config))
    steve.add_tag(CARD, max_active_transaction_count=-1)
    requests = Requests(create_app(steve))
    client = SteveClient(
        SteveSettings(
            STEVE_BASE_URL="http://steve.test/steve", steve_api_username="polaris", steve_api_key="steve-password"
        ),
        transport=httpx.ASGITransport(requests),
    )
    jobs = Jobs(redis)
    transactions = TransactionSync(database, client, jobs)
    yield Site(database, steve, requests, client, jobs, transactions, SyncRuns(database, client, transactions))
    await client.close()
    await jobs.close()
    await steve.aclose()
