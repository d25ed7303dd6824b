"""The socket that is listened on."""

import os
import socket

from app.errors import AddressTaken

BACKLOG = 1_024
"""How many connections may wait to be taken."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `AddressTaken`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise AddressTaken(
            f"Cannot listen on {host}:{port}: {_why(error)}. Stop what listens there, "
            "or take another: `headrace serve --port 9000`, `make serve PORT=9000`."
        ) from None


def _why(error: OSError) -> str:
    """The plain reason: Python adds the address to the system's words."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return str(error.strerror or error)
    return os.strerror(error.errno)
