"""The HTTP server: uvicorn, with the limits that it leaves open.

A connection over the limit is answered 503 with `Retry-After` and closed; one that says nothing, or
whose request head never ends, is closed in time; a request head over 64 KiB is answered 431.
"""

import asyncio
import json
import resource
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import HeadraceError, Overloaded, TooLarge
from app.settings import Settings

HEAD_BYTES_MAX = 65_536
"""The largest head of a request: its line and headers, in bytes."""

FILES_SPARE = 64
"""Open files that connections leave to the database and the rest."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `connections_max` is set on the class before the server starts."""

    connections_max = 1_000

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        if len(self.connections) > self.connections_max:
            self._refuse(
                "503 Service Unavailable",
                Overloaded(
                    f"{self.connections_max:,} connections are open, as many as there may be. "
                    "Keep one open and use it again."
                ),
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
        if self.transport.is_closing():
            return
        cycle = self.cycle
        super().data_received(data)
        if self.cycle is not cycle or (cycle is not None and not cycle.response_complete):
            self._head_ended()
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(
                "431 Request Header Fields Too Large",
                TooLarge(f"The head of the request is over {HEAD_BYTES_MAX:,} bytes. Send less."),
            )
        elif self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.timeout_keep_alive, self.transport.close)

    def _head_ended(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: str, error: HeadraceError) -> None:
        title = status.split(" ", 1)[1]
        problem: dict[str, Any] = {
            "type": f"urn:headrace:error:{error.code}",
            "title": title,
            "status": int(status[:3]),
            "code": error.code,
            "detail": error.message,
            "errors": [],
        }
        body = json.dumps(problem).encode()
        head = (
            f"HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def run(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was taken in."""
    files = _raise_file_limit()
    BoundedProtocol.connections_max = min(settings.connections_max, files - FILES_SPARE)
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        host=host,
        port=port,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.stop_seconds_max,
        backlog=1_024,
    )
    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        sys.exit(3)


def _raise_file_limit() -> int:
    """As many open files as this process may have; each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)
