"""Runs the simulators of SteVe, Lago and the e-mail Worker in one process.

SteVe and Lago share one clock, unless Lago's is frozen. The Worker has its own, because it compares it with the time a
mail was signed.

Quiet: nothing is printed but errors. SIGTERM and SIGINT stop it; a taken port ends it with exit code 2.
Secrets come from ``SIM_*`` environment variables or, visible in ``ps``, from arguments.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import uvicorn
import uvloop
from starlette.types import ASGIApp

from polaris_sim import lago
from polaris_sim.clock import SimClock
from polaris_sim.email_worker import EmailWorkerConfig, EmailWorkerSimulator
from polaris_sim.email_worker import create_app as create_email_app
from polaris_sim.fleet.fleet import DEFAULT_BOXES, Fleet, FleetBox
from polaris_sim.steve.app import create_app as create_steve_app
from polaris_sim.steve.config import HookConfig, SteveConfig
from polaris_sim.steve.profile import Profile
from polaris_sim.steve.simulator import SteveSimulator

PORT_TAKEN = 2
_SECRETS = {
    "steve_password": "SIM_STEVE_PASSWORD",
    "lago_key": "SIM_LAGO_KEY",
    "lago_webhook_key": "SIM_LAGO_WEBHOOK_KEY",
    "preauth_key": "SIM_PREAUTH_KEY",
    "metervalue_key": "SIM_METERVALUE_KEY",
    "email_secret": "SIM_EMAIL_SECRET",
}


@dataclass(frozen=True)
class RunnerOptions:
    """What to run; a simulator without port does not run."""

    host: str
    steve_port: int | None
    lago_port: int | None
    email_port: int | None
    profile: Profile
    lago_store: lago.EventStore
    lago_frozen_at: datetime | None
    steve_user: str
    gateway_url: str | None
    hooks: bool
    fleet: int
    sample_seconds: float
    seed: int
    steve_password: str
    lago_key: str
    lago_webhook_key: str
    preauth_key: str
    metervalue_key: str
    email_secret: str


def read_options(arguments: Sequence[str], environment: Mapping[str, str]) -> RunnerOptions:
    """Parse the command line; environment variables win over secrets in arguments."""
    parser = argparse.ArgumentParser(prog="python -m polaris_sim", description=__doc__.split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    for name in ("steve", "lago", "email"):
        parser.add_argument(f"--{name}-port", type=int)
    parser.add_argument("--profile", type=Profile, choices=list(Profile), default=Profile.V3_12_FORK)
    parser.add_argument(
        "--lago-store", type=lago.EventStore, choices=list(lago.EventStore), default=lago.EventStore.POSTGRES
    )
    parser.add_argument(
        "--lago-frozen-at", type=_moment, help="Lago's clock stands still at this time, so that old data is not late"
    )
    parser.add_argument("--steve-user", default=SteveConfig.username)
    parser.add_argument("--gateway-url", help="where SteVe's hooks and Lago's webhooks go")
    parser.add_argument("--no-hooks", dest="hooks", action="store_false", help="send no hooks and no webhooks")
    parser.add_argument("--fleet", type=int, default=0, help="number of simulated charge boxes")
    parser.add_argument("--sample-seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    defaults = {
        "steve_password": SteveConfig.api_password,
        "lago_key": lago.LagoConfig.api_key,
        "email_secret": EmailWorkerConfig.secret_a,
    }
    for name, variable in _SECRETS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=defaults.get(name, ""), help=f"or {variable}")
    values = vars(parser.parse_args(arguments))
    values.update({name: environment[variable] for name, variable in _SECRETS.items() if environment.get(variable)})
    options = RunnerOptions(**values)
    if options.steve_port is options.lago_port is options.email_port is None:
        parser.error("nothing to run: give --steve-port, --lago-port or --email-port")
    if options.fleet and options.steve_port is None:
        parser.error("--fleet needs --steve-port")
    return options


def steve_simulator(options: RunnerOptions, clock: SimClock) -> SteveSimulator:
    """SteVe, with its hooks to the gateway if there is one and its profile has them."""
    gateway = options.gateway_url if options.hooks else None
    hooks = HookConfig(
        pre_authorize_url=f"{gateway}/api/ocpp/pre-authorize" if gateway else None,
        pre_authorize_key=options.preauth_key,
        meter_values_url=f"{gateway}/api/ocpp/meter-values" if gateway else None,
        meter_values_key=options.metervalue_key,
        seed=options.seed,
    )
    config = SteveConfig(
        profile=options.profile,
        username=options.steve_user,
        api_password=options.steve_password,
        clock=clock,
        seed=options.seed,
        hooks=hooks,
    )
    return SteveSimulator(config)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def lago_simulator(options: RunnerOptions, clock: SimClock) -> lago.LagoSimulator:
    """Lago, with a webhook endpoint at the gateway if there are a gateway and a key."""
    wants_webhooks = options.gateway_url and options.hooks and options.lago_webhook_key
    config = lago.LagoConfig(
        api_key=options.lago_key,
        store=options.lago_store,
        clock=SimClock(options.lago_frozen_at, speed=0) if options.lago_frozen_at else clock,
        webhook_url=f"{options.gateway_url}/api/webhook/lago" if wants_webhooks else None,
        webhook_secret=options.lago_webhook_key,
        seed=options.seed,
    )
    return lago.LagoSimulator(config)


def fleet_of(options: RunnerOptions, steve: SteveSimulator) -> Fleet:
    """As many charge boxes as asked for, like the default ones, and twice as many drivers."""
    known = len(DEFAULT_BOXES)
    boxes: list[FleetBox] = [
        *DEFAULT_BOXES[: options.fleet],
        *(replace(DEFAULT_BOXES[n % known], charge_box_id=f"CB-SIM-{n + 1:04d}") for n in range(known, options.fleet)),
    ]
    drivers = [(f"51A0{number:04X}", f"Driver {number + 1}") for number in range(2 * options.fleet)]
    return Fleet(steve, charge_boxes=boxes, drivers=drivers, sample_seconds=options.sample_seconds, seed=options.seed)


async def run(options: RunnerOptions, sockets: Mapping[str, socket.socket], stop: asyncio.Event) -> None:
    """Serve the simulators on ``sockets`` (keys ``steve``, ``lago``, ``email``) until ``stop`` is set."""
    clock = SimClock()
    servers: list[_Server] = []
    work: list[Awaitable[None]] = []

    def serve(name: str, app: ASGIApp) -> None:
        servers.append(_Server(app))
        work.append(servers[-1].serve(sockets=[sockets[name]]))

    if "steve" in sockets:
        steve = steve_simulator(options, clock)
        serve("steve", create_steve_app(steve))
        if options.fleet:
            work.append(fleet_of(options, steve).run(stop))
    if "lago" in sockets:
        simulator = lago_simulator(options, clock)
        serve("lago", lago.create_app(simulator))
        work.append(simulator.run(stop))
    if "email" in sockets:
        email = EmailWorkerSimulator(EmailWorkerConfig(secret_a=options.email_secret))
        serve("email", create_email_app(email))
    work.append(_end_servers(servers, stop))
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(_awaited(one))


async def _awaited(work: Awaitable[None]) -> None:
    await work


async def _end_servers(servers: Sequence["_Server"], stop: asyncio.Event) -> None:
    await stop.wait()
    for server in servers:
        server.should_exit = True


class _Server(uvicorn.Server):
    """A quiet server that leaves the signals to the runner."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                timeout_graceful_shutdown=3,
                lifespan="on",
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle none."""
        yield


def bind(host: str, ports: Mapping[str, int | None]) -> dict[str, socket.socket]:
    """Open the listening sockets.

    Raises:
        OSError: a port is not free; all others are closed again.
    """
    with contextlib.ExitStack() as opened:
        sockets: dict[str, socket.socket] = {}
        for name, port in ports.items():
            if port is not None:
                try:
                    sockets[name] = opened.enter_context(socket.create_server((host, port), backlog=2048))
                except OSError as error:
                    reason = error.strerror or str(error)
                    raise OSError(f"The {name} simulator cannot listen on {host}:{port}: {reason}.") from None
        opened.pop_all()
    return sockets


async def _run_until_signalled(options: RunnerOptions, sockets: Mapping[str, socket.socket]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(options, sockets, stop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until signalled; the process's exit code."""
    options = read_options(sys.argv[1:] if arguments is None else arguments, os.environ)
    ports = {"steve": options.steve_port, "lago": options.lago_port, "email": options.email_port}
    try:
        sockets = bind(options.host, ports)
    except OSError as error:
        print(error, file=sys.stderr)
        return PORT_TAKEN
    uvloop.run(_run_until_signalled(options, sockets))
    return 0
