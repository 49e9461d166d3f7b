"""``python -m gateway``: serve until SIGTERM or SIGINT."""

import os
import signal
import socket
from types import FrameType

import uvicorn

from gateway.app import create_app
from gateway.settings import GatewaySettings
from polaris_common.db import Database
from polaris_common.observability import configure_logging
from polaris_common.process import StartupError, require_database, run
from polaris_common.settings import load_or_exit

DRAIN_SECONDS = 20
"""How long requests in flight may take when the process is told to stop."""

BACKLOG = 2048


def main() -> None:
    """Serve; what prevents the start is one sentence on stderr and a status other than 0."""
    settings = load_or_exit(GatewaySettings)
    configure_logging("gateway", settings.debug_level, version=settings.app_version)
    run(lambda: serve(settings))


async def serve(settings: GatewaySettings) -> None:
    """Serve until told to stop, then let the requests in flight finish.

    Raises:
        StartupError: the port is taken or the database cannot be reached.
    """
    listening = listen(settings.host, settings.port)
    try:
        await _check_database(settings)
    except StartupError:
        listening.close()
        raise
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the application believes TRUSTED_PROXIES
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )
    # uvicorn handles these while it runs and raises them again when it is done; stopping when told to is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _already_stopped)
    await server.serve(sockets=[listening])
    if not server.started:
        raise StartupError("The gateway did not start; the log says why.")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on ``host`` and ``port``.

    Raises:
        StartupError: the address is taken, not ours or not to be resolved.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise _cannot_listen(host, port, error) from error
    return listening


def _cannot_listen(host: str, port: int, error: OSError) -> StartupError:
    reason = error.strerror if error.errno is None or error.errno < 0 else os.strerror(error.errno)
    return StartupError(f"The gateway cannot listen on {host}:{port} (GATEWAY_HOST, GATEWAY_PORT): {reason}.")


async def _check_database(settings: GatewaySettings) -> None:
    database = Database(settings, application_name="gateway")
    try:
        await require_database(database)
    finally:
        await database.close()


def _already_stopped(number: int, frame: FrameType | None) -> None:
    """Nothing is left to do."""


if __name__ == "__main__":
    main()
