"""Everything that runs in the demo, and the order in which it comes up."""

import asyncio
import sys
import time

import httpx

from polaris_cli.demo.people import ADMIN_EMAIL, drivers, fleet_boxes, operator
from polaris_cli.demo.restore import known_sessions, restore_lago, restore_steve
from polaris_cli.demo.visits import Visits
from polaris_cli.problems import CommandError
from polaris_cli.seed import Person, seed_lago, seed_people
from polaris_cli.stack.platform import (
    ADMIN_HOST,
    CUSTOMER_HOST,
    METRIC_CODE,
    SERVICES,
    STEVE_USER,
    Platform,
    local_url,
)
from polaris_common.clock import SystemClock
from polaris_common.db import Database
from polaris_common.identity.passwords import hash_password
from polaris_common.lago import LagoClient
from polaris_common.settings import DatabaseSettings, LagoSettings, SteveSettings
from polaris_common.steve import SteveClient

HEALTHY_SECONDS = 60.0
CUSTOMERS_SINCE_YEAR = 2020
RESTORE_ATTEMPTS = 5


class Installation:
    """The demo's processes over running servers."""

    def __init__(self, platform: Platform, *, cars: int) -> None:
        self.platform, self._cars = platform, cars
        self.database = Database(DatabaseSettings(database_url=platform.database_url), application_name="polaris-demo")
        self._http = httpx.AsyncClient(timeout=30.0, trust_env=False)
        self.driver_email = drivers(1, "")[0].email
        self._visits: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Let go of connections; the processes belong to the supervisor."""
        if self._visits is not None:
            self._visits.cancel()
            await asyncio.gather(self._visits, return_exceptions=True)
        await self._http.aclose()
        await self.database.close()

    async def start(self) -> None:
        """Start everything and return when it is healthy.

        Raises:
            CommandError: something does not come up.
        """
        platform = self.platform
        platform.migrate()
        platform.start_service("gateway")
        platform.start_service("notifier")
        self._start_front()
        people = await self._seed_people()
        await self._start_simulators(people)
        for name in SERVICES:
            if name not in ("gateway", "notifier"):
                platform.start_service(name)
        await platform.wait_for(
            f"{local_url(platform.ports.gateway)}/livez", f"{local_url(platform.ports.notifier)}/livez"
        )
        await self._until_healthy()
        # The demo's driver charges at once instead of when the fleet happens to pick them.
        auth = (STEVE_USER, platform.secrets.steve_password)
        visits = Visits(self._http, platform.steve_url, auth, people[0])
        await visits.arrive()
        self._visits = asyncio.create_task(visits.go_on())

    async def _seed_people(self) -> list[Person]:
        secrets = self.platform.secrets
        people = [*drivers(self._cars, await hash_password(secrets.driver_password))]
        await seed_people(self.database, [*people, operator(await hash_password(secrets.admin_password))])
        return people

    async def _start_simulators(self, people: list[Person]) -> None:
        """Start SteVe, Lago and the mailbox, and give them back what they knew; a car may be quicker, then again."""
        sessions = await known_sessions(self.database)
        for attempt in range(RESTORE_ATTEMPTS):
            self.platform.start_simulators(
                "--gateway-url",
                local_url(self.platform.ports.gateway),
                "--fleet",
                str(fleet_boxes(self._cars)),
                "--seed",
                str(len(sessions) + attempt),
            )
            await self.platform.wait_for_simulators()
            if await restore_steve(self._http, self.platform.steve_url, sessions, await self._charge_boxes()):
                break
            self.platform.supervisor.kill("simulators")
        else:
            raise CommandError("The simulated SteVe does not take back the sessions of last time; use --fresh.")
        since = SystemClock().now().replace(year=CUSTOMERS_SINCE_YEAR, month=1, day=1)
        await seed_lago(self._http, self.platform.lago_url, people, metric_code=METRIC_CODE, since=since)
        environment = self.platform.environment()
        lago = LagoClient(
            LagoSettings(lago_api_url=environment["LAGO_API_URL"], lago_api_key=environment["LAGO_API_KEY"])
        )
        try:
            await restore_lago(self.database, lago)
        finally:
            await lago.close()

    async def _charge_boxes(self) -> set[str]:
        environment = self.platform.environment()
        steve = SteveClient(
            SteveSettings(
                STEVE_BASE_URL=environment["STEVE_BASE_URL"],
                steve_api_username=STEVE_USER,
                steve_api_key=environment["STEVE_API_KEY"],
            )
        )
        try:
            return {box.charge_box_id for box in await steve.charge_boxes() or ()}
        finally:
            await steve.close()

    def _start_front(self) -> None:
        platform = self.platform
        command = [
            *(sys.executable, "-m", "polaris_sim.front", "--port", str(platform.front_port)),
            *("--gateway", local_url(platform.ports.gateway), "--notifier", local_url(platform.ports.notifier)),
            *("--customer-host", CUSTOMER_HOST, "--admin-host", ADMIN_HOST, "--mailbox", platform.mailbox_url),
        ]
        sign_in = {
            "DEMO_DRIVER_EMAIL": self.driver_email,
            "DEMO_DRIVER_PASSWORD": platform.secrets.driver_password,
            "DEMO_OPERATOR_EMAIL": ADMIN_EMAIL,
            "DEMO_OPERATOR_PASSWORD": platform.secrets.admin_password,
        }
        platform.supervisor.start("front", command, sign_in)

    async def _until_healthy(self) -> None:
        """Wait until all four checks are fine, as people see them.

        Raises:
            CommandError: they are not in time; the text names them.
        """
        url = f"{local_url(self.platform.front_port)}/api/health"
        deadline = time.monotonic() + HEALTHY_SECONDS
        checks: dict[str, dict[str, str]] = {}
        while time.monotonic() < deadline:
            self.platform.supervisor.check()
            try:
                response = await self._http.get(url, headers={"Host": CUSTOMER_HOST})
                checks = response.json().get("checks", {}) if response.is_success else {}
            except (httpx.HTTPError, ValueError):
                checks = {}
            if checks and all(check["status"] == "ok" for check in checks.values()):
                return
            await asyncio.sleep(0.2)
        ailing = ", ".join(name for name, check in checks.items() if check["status"] != "ok") or "everything"
        raise CommandError(f"The demo is not healthy after {HEALTHY_SECONDS:.0f} seconds: {ailing}.")
