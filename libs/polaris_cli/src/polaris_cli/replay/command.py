"""``polaris replay``: the command from start to end."""

import asyncio
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy.exc import SQLAlchemyError

from polaris_cli.problems import BadInput, CommandError
from polaris_cli.replay.books import read_books
from polaris_cli.replay.chaos import Chaos, lago_faults
from polaris_cli.replay.display import Display
from polaris_cli.replay.report import Expected, Report, compare
from polaris_cli.replay.rows import read_rows
from polaris_cli.replay.script import Script, batches, build
from polaris_cli.replay.settling import progress, settle, unbilled
from polaris_cli.seed import Person, post, seed_lago, seed_people, seed_steve
from polaris_cli.stack.interruption import Interrupted, run_interruptibly
from polaris_cli.stack.platform import METRIC_CODE, SERVICES, Platform, Ports, local_url
from polaris_cli.stack.processes import Supervisor
from polaris_cli.stack.secrets import StackSecrets
from polaris_cli.stack.servers import only_run, running_servers
from polaris_common.db import Database
from polaris_common.settings import DatabaseSettings

PROFILES = ("3.12-fork", "3.13+", "HEAD")
STORES = ("postgres", "clickhouse")
BATCH = 500
INTERRUPTED = 130
DATABASE = "replay"
CUSTOMER = "driver-{}"


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay, and against what."""

    csv: Path
    state: Path
    hooks: bool = True
    chaos: int | None = None
    profile: str = PROFILES[0]
    lago_store: str = STORES[0]


def run_replay(options: ReplayOptions) -> int:
    """Replay and print the report; 0 when the books balance.

    Raises:
        CommandError: it could not be done.
    """
    began = time.monotonic()
    if options.profile not in PROFILES:
        raise BadInput(f"--profile must be one of {', '.join(PROFILES)}.")
    if options.lago_store not in STORES:
        raise BadInput(f"--lago-store must be one of {', '.join(STORES)}.")
    script = build(read_rows(options.csv))
    folder = options.state / "replay"
    try:
        with only_run(folder):
            report = _balance(options, script, folder, began)
    except Interrupted:
        sys.stderr.write("Stopped.\n")
        return INTERRUPTED
    sys.stdout.write(f"{report.to_json()}\n")
    sys.stdout.flush()
    return 0 if report.balanced else 1


def _balance(options: ReplayOptions, script: Script, folder: Path, began: float) -> Report:
    reports: list[Report] = []

    async def main() -> int:
        reports.append(await _Replay(options, script, folder).run(began))
        return 0

    run_interruptibly(main())
    return reports[0]


class _Replay:
    """One run: start everything, feed the script, wait, compare."""

    def __init__(self, options: ReplayOptions, script: Script, folder: Path) -> None:
        self._options, self._script, self._folder = options, script, folder
        self._people = [
            Person(name=f"Driver {driver}", email=f"{id_tag.lower()}@replay.invalid", id_tag=id_tag, customer=customer)
            for driver, id_tag in script.cards.items()
            for customer in [CUSTOMER.format(driver)]
        ]
        self._transactions: dict[str, int] = {}

    async def run(self, began: float) -> Report:
        """The report; whatever happens, nothing that was started is left."""
        with ExitStack() as stack:
            display = stack.enter_context(Display())
            supervisor = stack.enter_context(Supervisor(self._folder / "logs"))
            platform = self._platform(supervisor)
            sessions = self._script.sessions
            total = sum(session.wh for session in sessions)
            display.plan(actions=len(self._script.actions), sessions=len(sessions), wh=total)
            hooks = ["--gateway-url", local_url(platform.ports.gateway)] if self._options.hooks else ["--no-hooks"]
            platform.start_simulators(
                "--profile",
                self._options.profile,
                "--lago-store",
                self._options.lago_store,
                # The data is years old. Lago lives in its time, so that its billing periods are still open.
                "--lago-frozen-at",
                self._script.first_moment.isoformat(),
                *hooks,
            )
            servers = stack.enter_context(running_servers(self._folder, supervisor))
            stack.callback(supervisor.stop)
            platform.redis_url = servers.redis.url
            platform.database_url = servers.new_database(DATABASE)
            return await self._with(platform, display, began)

    def _platform(self, supervisor: Supervisor) -> Platform:
        extra = {"SYNC_LIVE_POLL_SECONDS": "1", "DEBUG_LEVEL": "WARN"}
        return Platform(supervisor, StackSecrets.new(), Ports.choose(), front_port=80, extra=extra)

    async def _with(self, platform: Platform, display: Display, began: float) -> Report:
        database = Database(DatabaseSettings(database_url=platform.database_url), application_name="polaris-replay")
        http = httpx.AsyncClient(timeout=120.0, trust_env=False)
        try:
            await self._start(platform, database, http)
            display.say(f"Everything runs after {time.monotonic() - began:.1f} s.")
            await self._feed(platform, database, http, display)
            done = await settle(
                database, len(self._script.sessions), check=platform.supervisor.check, show=display.settled
            )
            if not done:
                display.say(f"Nothing has moved for a minute: {await progress(database)}")
            return await self._report(platform, database, http, began)
        except (OSError, SQLAlchemyError) as error:
            platform.supervisor.check()
            raise CommandError(f"The replay's PostgreSQL cannot be reached ({type(error).__name__}).") from None
        finally:
            await http.aclose()
            await database.close()

    async def _start(self, platform: Platform, database: Database, http: httpx.AsyncClient) -> None:
        platform.migrate()
        platform.start_service("gateway")
        await seed_people(database, self._people)
        await platform.wait_for_simulators()
        await seed_steve(http, platform.steve_url, self._script.stations, list(self._script.cards.values()))
        await seed_lago(http, platform.lago_url, self._people, metric_code=METRIC_CODE, since=self._script.first_moment)
        for name in SERVICES:
            if name != "gateway":
                platform.start_service(name)
        await platform.wait_for(f"{local_url(platform.ports.gateway)}/livez")

    async def _feed(self, platform: Platform, database: Database, http: httpx.AsyncClient, display: Display) -> None:
        fed = asyncio.Event()
        tasks = [asyncio.create_task(_watch(database, display))]
        try:
            if self._options.chaos is not None:
                faults = lago_faults(self._options.chaos)
                await post(http, f"{platform.lago_url}/_sim/faults", faults, method="PUT")
                chaos = Chaos(platform.supervisor, self._options.chaos)
                tasks.append(asyncio.create_task(chaos.rage(fed)))
            done = 0
            for batch in batches(self._script.actions, BATCH):
                answer = await post(http, f"{platform.steve_url}/_sim/script", batch)
                self._transactions |= answer["transactions"]
                meters = await _drained(platform, http)
                done += len(batch)
                display.fed(done)
                platform.supervisor.check()
            if self._options.hooks and meters["sent"]:
                display.say(f"SteVe's hook delivered {meters['ok']} of {meters['sent']} meter values.")
            fed.set()
            await asyncio.gather(*tasks[1:])
            if self._options.chaos is not None:
                display.say(f"Killed {len(chaos.kills)} times: {', '.join(chaos.kills)}.")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _report(self, platform: Platform, database: Database, http: httpx.AsyncClient, began: float) -> Report:
        books = await read_books(http, platform.lago_url, METRIC_CODE)
        drivers = {person.subscription: person.customer for person in self._people}
        expected = [
            Expected(self._transactions.get(session.ref), CUSTOMER.format(session.driver), session.wh)
            for session in self._script.sessions
        ]
        billed = {drivers.get(name) or name: wh for name, wh in books.billed_by_subscription.items()}
        return compare(
            expected,
            books.ranges,
            billed,
            await unbilled(database),
            repeated_in_lago=books.repeated,
            seconds=time.monotonic() - began,
        )


async def _drained(platform: Platform, http: httpx.AsyncClient) -> dict[str, int]:
    """Wait until SteVe has sent every hook; the counters of the meter-values hook."""
    while True:
        answer = await post(http, f"{platform.steve_url}/_sim/hooks/drained?timeout=5", None, method="GET")
        platform.supervisor.check()
        if answer["drained"]:
            meters: dict[str, int] = answer["counters"]["meterValues"]
            return meters


async def _watch(database: Database, display: Display) -> None:
    while True:
        display.settled(await progress(database))
        await asyncio.sleep(1)
