"""An installation to put under load: servers, a migrated database, the simulators as a process of their own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from redis import Redis

from billing_bridge.ledger.service import Ledger
from billing_bridge.mirror.service import Mirror
from billing_bridge.safety.service import SafetyGate
from billing_bridge.sender.service import Sender
from polaris_cli.stack.platform import METRIC_CODE, STEVE_USER, Platform, Ports, local_url
from polaris_cli.stack.processes import Supervisor
from polaris_cli.stack.secrets import StackSecrets
from polaris_cli.stack.servers import Servers
from polaris_common.clock import SystemClock
from polaris_common.db import Database
from polaris_common.domain.slicing import SlicePolicy
from polaris_common.jobs import Jobs
from polaris_common.lago import LagoClient
from polaris_common.migrations.runner import upgrade
from polaris_common.settings import DatabaseSettings, LagoSettings, RedisSettings, SteveSettings
from polaris_common.steve import SteveClient
from sync_worker.runs.service import SyncRuns
from sync_worker.tags.service import TagSync
from sync_worker.transactions.service import TransactionSync
from tests.support.sql import WithDatabase


@dataclass(frozen=True)
class Bench:
    """What all cases of one run share."""

    servers: Servers
    folder: Path
    quick: bool

    def size(self, full: int, quick: int) -> int:
        """How many, by how long the run may take."""
        return quick if self.quick else full

    async def migrated_database(self, name: str) -> str:
        """The address of a new database with our tables."""
        url = self.servers.new_database(name)
        database = Database(DatabaseSettings(database_url=url), application_name="bench")
        await upgrade(database)
        await database.close()
        return url


@dataclass(frozen=True)
class Workers:
    """The workers' own code, in this process, one step at a time."""

    runs: SyncRuns
    ledger: Ledger
    sender: Sender
    mirror: Mirror

    async def run(self) -> None:
        """One sync run, and those that it asks for."""
        await self.runs.request_run("bench")
        await self.runs.run_requested()
        await self.runs.run_requested()


@dataclass
class Installation(WithDatabase):
    """One installation: simulators that run, a database with our tables, and nothing in either."""

    platform: Platform
    jobs: Jobs
    http: httpx.AsyncClient

    @property
    def lago_key(self) -> str:
        """The simulated Lago's key."""
        return self.platform.secrets.lago_key

    @property
    def steve_auth(self) -> httpx.BasicAuth:
        """The simulated SteVe's credentials."""
        return httpx.BasicAuth(STEVE_USER, self.platform.secrets.steve_password)

    async def count(self, query: str) -> int:
        """The number that a query answers."""
        return int((await self.rows(query))[0][0])

    async def expect(self, query: str, number: int) -> None:
        """Make sure that the work was done: a fast case that did nothing is no measurement.

        Raises:
            RuntimeError: the query answers another number.
        """
        found = await self.count(query)
        if found != number:
            raise RuntimeError(f"{found} in place of {number}: {query}")

    @asynccontextmanager
    async def workers(self) -> AsyncIterator[Workers]:
        """The workers' code with the settings that production has."""
        secrets, platform = self.platform.secrets, self.platform
        steve = SteveClient(
            SteveSettings(
                STEVE_BASE_URL=f"{platform.steve_url}/steve",
                steve_api_username=STEVE_USER,
                steve_api_key=secrets.steve_password,
            )
        )
        lago = LagoClient(LagoSettings(lago_api_url=platform.lago_url, lago_api_key=secrets.lago_key))
        gate = SafetyGate(self.database, lago, METRIC_CODE)
        ledger = Ledger(self.database, self.jobs, policy=SlicePolicy(), metric_code=METRIC_CODE)
        transactions = TransactionSync(self.database, steve, self.jobs)
        try:
            yield Workers(
                runs=SyncRuns(self.database, steve, transactions, tags=TagSync(self.database, steve)),
                ledger=ledger,
                sender=Sender(self.database, lago, SystemClock(), gate),
                mirror=Mirror(self.database, lago, ledger, gate),
            )
        finally:
            await steve.close()
            await lago.close()


@asynccontextmanager
async def installation(
    bench: Bench, name: str, *, hooks: bool = False, extra: Mapping[str, str] | None = None
) -> AsyncIterator[Installation]:
    """Make one; whatever it started ends with the block. ``extra``: environment variables of its services."""
    async with AsyncExitStack() as stack:
        supervisor = stack.enter_context(Supervisor(bench.folder / "logs" / name))
        settings = {"DEBUG_LEVEL": "WARN", **(extra or {})}
        platform = Platform(supervisor, StackSecrets.new(), Ports.choose(), front_port=80, extra=settings)
        platform.redis_url = bench.servers.redis.url
        with Redis.from_url(platform.redis_url) as redis:
            redis.flushall()
        gateway = ["--gateway-url", local_url(platform.ports.gateway)] if hooks else ["--no-hooks"]
        platform.start_simulators(*gateway)
        platform.database_url = await bench.migrated_database(name)
        database = Database(DatabaseSettings(database_url=platform.database_url), application_name="bench")
        stack.push_async_callback(database.close)
        jobs = Jobs(RedisSettings(redis_url=platform.redis_url))
        stack.push_async_callback(jobs.close)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=120, trust_env=False))
        await platform.wait_for_simulators()
        yield Installation(database, platform, jobs, http)
