"""TCP ports on the loopback interface."""

import socket
from contextlib import ExitStack

from polaris_cli.problems import BadInput

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """``count`` different ports that nobody listens on right now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def require_free(port: int) -> None:
    """Make sure that ``port`` can be listened on.

    Raises:
        BadInput: another program has it, or we may not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError:
            raise BadInput(f"Port {port} needs more rights than this user has; choose one above 1023.") from None
        except OSError:
            raise BadInput(f"Port {port} is taken by another program; stop it or choose another with --port.") from None
