"""Servers that are not Headrace: one that answers what it is told to, and one that is slow."""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from app.api.errors import render
from app.errors import HeadraceError

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


class Stranger:
    """A server that is not Headrace and answers what it is told to; `asked` is what it heard."""

    def __init__(self, *answers: Answer) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self._answers = list(answers)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("content-length", 0))
                stranger.asked.append((self.command, self.path, self.rfile.read(length)))
                last = len(stranger._answers) == 1
                status, headers, body = stranger._answers[0] if last else stranger._answers.pop(0)
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_DELETE = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler

    @contextmanager
    def serving(self) -> Iterator["Stranger"]:
        """Answer, from a thread."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class Slow:
    """A server of sockets that sends its parts with a pause behind each, whatever it is asked."""

    def __init__(self, parts: Callable[[], Iterable[bytes]], pause_seconds: float) -> None:
        self.connections = 0
        self._parts = parts
        self._pause_seconds = pause_seconds
        self._is_over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    @contextmanager
    def serving(self) -> Iterator["Slow"]:
        """Answer, each connection from a thread."""
        accepting = threading.Thread(target=self._accept)
        accepting.start()
        try:
            yield self
        finally:
            self._is_over.set()
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            accepting.join()

    def _accept(self) -> None:
        threads = []
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                threads.append(threading.Thread(target=self._answer, args=(connection,)))
                threads[-1].start()
        for thread in threads:
            thread.join()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(4_096)
            for part in self._parts():
                connection.sendall(part)
                if self._is_over.wait(self._pause_seconds):
                    return


def problem(error: HeadraceError) -> Answer:
    """An error as the service answers it."""
    return render(error)


PREDICTED = json.dumps(
    {"id": "a", "model": "m", "version": 0, "offset": 1, "prediction": 1}
).encode()
