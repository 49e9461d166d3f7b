"""``python -m polaris_sim.front --port 8000 --gateway http://… --notifier http://…``."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence

import uvicorn

from polaris_sim.front.app import FrontSettings, create_app
from polaris_sim.front.proxy import Proxy
from polaris_sim.front.routing import Backend

PORT_TAKEN = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until signalled; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        listening = socket.create_server((options.host, options.port), backlog=1024)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        sys.stderr.write(f"The front cannot listen on {options.host}:{options.port}: {reason}.\n")
        return PORT_TAKEN
    settings = FrontSettings(
        customer_host=options.customer_host,
        admin_host=options.admin_host,
        mailbox=options.mailbox,
        driver_email=os.environ.get("DEMO_DRIVER_EMAIL", ""),
        driver_password=os.environ.get("DEMO_DRIVER_PASSWORD", ""),
        operator_email=os.environ.get("DEMO_OPERATOR_EMAIL", ""),
        operator_password=os.environ.get("DEMO_OPERATOR_PASSWORD", ""),
    )
    proxy = Proxy({Backend.GATEWAY: options.gateway, Backend.NOTIFIER: options.notifier})
    config = uvicorn.Config(
        create_app(proxy, settings),
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = FrontSettings()
    parser = argparse.ArgumentParser(prog="python -m polaris_sim.front", description="The demo's one port.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--gateway", required=True, help="address of the gateway")
    parser.add_argument("--notifier", required=True, help="address of the notifier")
    parser.add_argument("--customer-host", default=defaults.customer_host)
    parser.add_argument("--admin-host", default=defaults.admin_host)
    parser.add_argument("--mailbox", default="", help="address of the simulated mailbox, for a link")
    return parser


if __name__ == "__main__":
    sys.exit(main())
