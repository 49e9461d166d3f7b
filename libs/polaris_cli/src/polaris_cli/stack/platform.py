"""The platform's processes and the simulators around it: how each is started and when it is ready."""

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from polaris_cli.problems import CommandError
from polaris_cli.stack.ports import LOOPBACK, free_ports
from polaris_cli.stack.processes import Supervisor
from polaris_cli.stack.secrets import StackSecrets

STEVE_USER = "polaris"
METRIC_CODE = "ev_charging_kwh"
CUSTOMER_HOST = "polaris.localhost"
ADMIN_HOST = "manage.polaris.localhost"
READY_SECONDS = 60.0
POLL_SECONDS = 0.05

SERVICES = {
    "gateway": "gateway",
    "notifier": "notifier",
    "sync-worker": "sync_worker",
    "billing-bridge": "billing_bridge",
}
"""Name → module that is run."""


@dataclass(frozen=True)
class Ports:
    """Where each process listens, on the loopback interface."""

    gateway: int
    notifier: int
    steve: int
    lago: int
    email: int

    @classmethod
    def choose(cls) -> "Ports":
        """Free ones."""
        return cls(*free_ports(5))


def local_url(port: int) -> str:
    """The address of a process of ours."""
    return f"http://{LOOPBACK}:{port}"


@dataclass
class Platform:
    """One installation: its processes belong to ``supervisor``, its data to ``database_url`` and ``redis_url``."""

    supervisor: Supervisor
    secrets: StackSecrets
    ports: Ports
    front_port: int
    database_url: str = ""
    redis_url: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Environment variables besides those that every installation needs."""

    @property
    def customer_url(self) -> str:
        """Where drivers go."""
        return f"http://{CUSTOMER_HOST}:{self.front_port}"

    @property
    def admin_url(self) -> str:
        """Where operators go."""
        return f"http://{ADMIN_HOST}:{self.front_port}"

    @property
    def steve_url(self) -> str:
        """The simulated SteVe, without context path."""
        return local_url(self.ports.steve)

    @property
    def lago_url(self) -> str:
        """The simulated Lago."""
        return local_url(self.ports.lago)

    @property
    def mailbox_url(self) -> str:
        """The simulated mailbox."""
        return local_url(self.ports.email)

    def environment(self) -> dict[str, str]:
        """What the services read."""
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "STEVE_BASE_URL": f"{self.steve_url}/steve",
            "STEVE_API_USERNAME": STEVE_USER,
            "STEVE_API_KEY": self.secrets.steve_password,
            "STEVE_PREAUTH_HMAC_KEY": self.secrets.preauth_key,
            "STEVE_METERVALUE_HMAC_KEY": self.secrets.metervalue_key,
            "LAGO_API_URL": self.lago_url,
            "LAGO_API_KEY": self.secrets.lago_key,
            "LAGO_METRIC_CODE": METRIC_CODE,
            "AUTH_SECRET": self.secrets.auth_secret,
            "ADMIN_BASE_URL": self.admin_url,
            "CUSTOMER_BASE_URL": self.customer_url,
            "COOKIE_DOMAIN": f".{CUSTOMER_HOST}",
            "GATEWAY_HOST": LOOPBACK,
            "GATEWAY_PORT": str(self.ports.gateway),
            "NOTIFIER_HOST": LOOPBACK,
            "NOTIFIER_PORT": str(self.ports.notifier),
            "CF_EMAIL_WORKER_URL": self.mailbox_url,
            "CF_EMAIL_WORKER_SECRET": self.secrets.email_secret,
            "DEPLOY_ENV": "development",
            "DEBUG_LEVEL": "INFO",
            **self.extra,
        }

    def migrate(self) -> None:
        """Bring the database up to date.

        Raises:
            ChildDied: it could not be.
        """
        self.supervisor.run("migrate", [sys.executable, "-m", "polaris_common.migrations"], self.environment())

    def start_service(self, name: str) -> None:
        """Start one of ``SERVICES``."""
        self.supervisor.start(name, [sys.executable, "-m", SERVICES[name]], self.environment())

    def start_simulators(self, *arguments: str) -> None:
        """Start SteVe, Lago and the mailbox in one process."""
        ports = {"steve": self.ports.steve, "lago": self.ports.lago, "email": self.ports.email}
        listening = [text for name, port in ports.items() for text in (f"--{name}-port", str(port))]
        secrets = {
            "SIM_STEVE_PASSWORD": self.secrets.steve_password,
            "SIM_LAGO_KEY": self.secrets.lago_key,
            "SIM_PREAUTH_KEY": self.secrets.preauth_key,
            "SIM_METERVALUE_KEY": self.secrets.metervalue_key,
            "SIM_EMAIL_SECRET": self.secrets.email_secret,
        }
        command = [sys.executable, "-m", "polaris_sim", *listening, "--steve-user", STEVE_USER, *arguments]
        self.supervisor.start("simulators", command, secrets)

    async def wait_for(self, *urls: str) -> None:
        """Wait until every one of ``urls`` answers 200, while everything that was started goes on running.

        Raises:
            ChildDied: a process ended instead.
            CommandError: one does not answer in time.
        """
        deadline = time.monotonic() + READY_SECONDS
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            for url in urls:
                while not await _answers(http, url):
                    self.supervisor.check()
                    if time.monotonic() > deadline:
                        raise CommandError(f"{url} did not answer within {READY_SECONDS:.0f} seconds.")
                    await asyncio.sleep(POLL_SECONDS)

    async def wait_for_simulators(self) -> None:
        """Wait until all simulators answer; raises as ``wait_for``."""
        await self.wait_for(*(f"{url}/_sim/clock" for url in (self.steve_url, self.lago_url, self.mailbox_url)))


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        response = await http.get(url)
    except httpx.HTTPError:
        return False
    return response.status_code == httpx.codes.OK
