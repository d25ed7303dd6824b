"""The HTTP server: uvicorn, with the limits that it leaves open.

A connection over the limit is answered 503 with `Retry-After` and closed; one that says nothing, or
whose request head never ends, is closed in time; a request head over 64 KiB is answered 431, and so
is as much between or behind the parts of a body (extensions, trailers) that is no body. An
offer to speak another protocol (some clients offer HTTP/2 by default) is passed over.
"""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.errors import TITLES, render
from app.api.streams import Connection
from app.errors import BadRequest, HeadraceError, HeadTooLarge, Overloaded
from app.settings import Settings

HEAD_BYTES_MAX = 65_536
"""The largest head of a request: its line and headers, in bytes."""

FILES_SPARE = 64
"""Open files that connections leave to the database and the rest."""

LINGER_SECONDS = 1.0
"""How long a refused connection is read from, so that its end does not cut off the answer."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `connections_max` is set on the class before the server starts."""

    connections_max = 1_000

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_came = False
        self._is_refused = False
        self._stream: Connection | None = None
        super().connection_made(transport)
        if len(self.connections) > 2 * self.connections_max:
            transport.abort()
        elif len(self.connections) > self.connections_max:
            self._refuse(
                Overloaded(
                    f"{self.connections_max:,} connections are open, as many as there may be. "
                    "Keep one open and use it again."
                )
            )
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_ended()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        cycle = self.cycle
        is_idle = cycle is None or cycle.response_complete
        if is_idle and self._head_bytes == 0 and b"pgrade" in data:
            data = _without_upgrade(data)
        self._head_bytes += len(data)
        self._body_came = False
        super().data_received(data)
        if self.cycle is not cycle or self._body_came:
            self._head_ended()
        elif self._head_bytes > HEAD_BYTES_MAX and not self._is_refused:
            self._refuse(_head_too_large())
        elif is_idle and self._head_timer is None and not self._is_refused:
            self._head_timer = self.loop.call_later(self.timeout_keep_alive, self.transport.close)

    def on_body(self, body: bytes) -> None:
        """Note that what comes is no endless head or trailer."""
        self._body_came = True
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Stop the parser at a head that came at once and is too large."""
        if self._head_bytes > HEAD_BYTES_MAX:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > HEAD_BYTES_MAX:
                self._refuse(_head_too_large())
                raise ValueError("the head is too large")
        super().on_headers_complete()
        self._stream = None
        scope: Any = self.scope
        if scope["path"].endswith("/batch"):
            scope["headrace.connection"] = self._stream = Connection(self.transport.abort)

    def shutdown(self) -> None:
        """The server stops: a stream ends behind what was read of it, and is answered that far."""
        if self._stream is not None:
            self._stream.stopping.set()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as every other error is answered."""
        if not self._is_refused:
            self._refuse(
                BadRequest("This is not well-formed HTTP/1.1. Send it with an HTTP client.")
            )

    def _head_ended(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: HeadraceError) -> None:
        self._is_refused = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            # A request is being answered: its answer ends here, and nothing can stand in its midst.
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        status, headers, body = render(error)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(
            [
                f"HTTP/1.1 {status} {TITLES[status]}",
                *lines,
                f"content-length: {len(body)}",
                "connection: close",
                "\r\n",
            ]
        )
        self.transport.write(head.encode() + body)
        # To close with bytes unread would reset the connection, and take the answer with it.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)


def _without_upgrade(data: bytes) -> bytes:
    """The beginning of a request without the offer to speak another protocol.

    The parser would take all that follows such a head for that protocol, and with it the body.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return data
    first, *lines = head.split(b"\r\n")
    kept = [first]
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.strip().lower()
        if name == b"connection":
            tokens = [token.strip() for token in value.split(b",")]
            left = [t for t in tokens if t.lower() not in (b"upgrade", b"http2-settings")]
            line = b"connection: " + b", ".join(left) if left else b""
        if line and name not in (b"upgrade", b"http2-settings"):
            kept.append(line)
    return b"\r\n".join(kept) + end + rest


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(f"The head of the request is over {HEAD_BYTES_MAX:,} bytes. Send less.")


class Server(uvicorn.Server):
    """Says in a pipe, if there is one, when it takes connections."""

    ready: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections, and say so."""
        await super().startup(sockets)
        if self.started and self.ready is not None:
            # Nobody may wait for it any more: who was told to replace this one, or is gone.
            with suppress(BrokenPipeError):
                os.write(self.ready, b"x")
            os.close(self.ready)


def run(settings: Settings, listening: socket.socket, ready: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was taken in.

    A worker of a supervisor says in the pipe `ready` when it takes connections, and stops too when
    its standard input ends. Garbage is collected from here on: who calls this may have left it off
    while importing.
    """
    if ready is not None:
        threading.Thread(target=_stop_when_orphaned, daemon=True).start()
    files = _raise_file_limit()
    BoundedProtocol.connections_max = min(settings.connections_max, files - FILES_SPARE)
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.stop_seconds_max,
    )
    # Of what is imported nothing is garbage: to look for it while importing takes a quarter of the
    # start, and to go through it again and again a part of each replay.
    config.load()
    gc.freeze()
    gc.enable()
    server = Server(config)
    server.ready = ready
    # An interrupt is raised again once the server has stopped; it stopped as it was told.
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if not server.started:
        sys.exit(3)


def _stop_when_orphaned() -> None:
    while os.read(0, 65_536):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _raise_file_limit() -> int:
    """As many open files as this process may have; each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)
