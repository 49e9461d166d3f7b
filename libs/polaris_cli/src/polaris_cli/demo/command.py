"""``polaris demo``: the command from start to end."""

import asyncio
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from sqlalchemy.exc import SQLAlchemyError

from polaris_cli.demo.installation import Installation
from polaris_cli.demo.people import ADMIN_EMAIL
from polaris_cli.demo.table import look, table_of
from polaris_cli.problems import CommandError
from polaris_cli.stack.interruption import Interrupted, run_interruptibly
from polaris_cli.stack.platform import Platform, Ports
from polaris_cli.stack.ports import require_free
from polaris_cli.stack.processes import Supervisor
from polaris_cli.stack.secrets import StackSecrets
from polaris_cli.stack.servers import only_run, running_servers, wipe

REFRESH_SECONDS = 1.0
DATABASE = "polaris"
EXTRA = {
    "SYNC_LIVE_POLL_SECONDS": "5",
    "SYNC_ON_STARTUP": "true",
    "LAGO_MIRROR_SECONDS": "15",
    "BILLING_SLICE_MAX_AGE": "0.25",
}
"""Quicker than in production, so that there is something to see."""


@dataclass(frozen=True)
class DemoOptions:
    """What to show, and where its data is kept."""

    state: Path
    port: int = 8000
    cars: int = 6
    headless: bool = False
    fresh: bool = False


def run_demo(options: DemoOptions) -> int:
    """Run until Ctrl-C or SIGTERM.

    Raises:
        CommandError: it cannot start, or something of it has died.
    """
    began = time.monotonic()
    require_free(options.port)
    folder = options.state / "demo"
    with only_run(folder):
        if options.fresh:
            wipe(folder)
        secrets = StackSecrets.kept_in(folder / "secrets.json")
        try:
            return run_interruptibly(_demo(options, folder, secrets, began))
        except Interrupted:
            return 0


async def _demo(options: DemoOptions, folder: Path, secrets: StackSecrets, began: float) -> int:
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor(folder / "logs"))
        servers = stack.enter_context(running_servers(folder, supervisor))
        stack.callback(supervisor.stop)
        platform = Platform(
            supervisor,
            secrets,
            Ports.choose(),
            front_port=options.port,
            database_url=servers.ensure_database(DATABASE),
            redis_url=servers.redis.url,
            extra=EXTRA,
        )
        installation = Installation(platform, cars=options.cars)
        try:
            await installation.start()
            _announce(options, platform, installation.driver_email, time.monotonic() - began)
            await _show(options, installation)
        except (OSError, SQLAlchemyError) as error:
            supervisor.check()
            raise CommandError(f"The demo's PostgreSQL cannot be reached ({type(error).__name__}).") from None
        finally:
            await installation.close()
    return 0


def _announce(options: DemoOptions, platform: Platform, driver_email: str, seconds: float) -> None:
    secrets = platform.secrets
    if options.headless:
        ready = {
            "ready": True,
            "customer": platform.customer_url,
            "admin": platform.admin_url,
            "mailbox": platform.mailbox_url,
            "seconds": round(seconds, 1),
            "driver": {"email": driver_email, "password": secrets.driver_password},
            "operator": {"email": ADMIN_EMAIL, "password": secrets.admin_password},
        }
        sys.stdout.write(f"{json.dumps(ready, separators=(',', ':'))}\n")
    else:
        sys.stdout.write(
            f"Drivers    {platform.customer_url}\n"
            f"           {driver_email} / {secrets.driver_password}\n"
            f"Operators  {platform.admin_url}\n"
            f"           {ADMIN_EMAIL} / {secrets.admin_password}\n"
            f"Mailbox    {platform.mailbox_url}\n\n"
            f"ready in {seconds:.0f} s\n\n"
        )
    sys.stdout.flush()


async def _show(options: DemoOptions, installation: Installation) -> None:
    """Show the sessions, or nothing, until cancelled or something dies."""
    console = Console()
    if options.headless or not console.is_terminal:
        while True:
            installation.platform.supervisor.check()
            await asyncio.sleep(REFRESH_SECONDS)
    with Live(table_of([]), console=console, auto_refresh=False) as live:
        while True:
            installation.platform.supervisor.check()
            live.update(table_of(await look(installation.database)), refresh=True)
            await asyncio.sleep(REFRESH_SECONDS)
