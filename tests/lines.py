"""Clients of streams: what they send and what they read stands in the tests' own hands."""

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.process import Headrace

NDJSON = "application/x-ndjson"
READ_BYTES = 65_536


class Stream:
    """One stream on one connection, chunk by chunk; answers are read when the test says so."""

    def __init__(
        self,
        service: Headrace,
        call: str = "feedback",
        model: str = "m",
        type: str = NDJSON,
        room: int | None = None,
    ) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
        if room is not None:
            # So little of what comes waits in this process.
            self.http.sock = socket.socket()
            self.http.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
            self.http.sock.settimeout(120)
            self.http.sock.connect(("127.0.0.1", service.port))
        self.http.putrequest("POST", f"/v1/models/{model}/{call}/batch")
        self.http.putheader("content-type", type)
        self.http.putheader("transfer-encoding", "chunked")
        self.http.endheaders()
        self._answer: http.client.HTTPResponse | None = None

    def send(self, data: bytes) -> None:
        """Send a chunk."""
        self.http.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        """Send the end of the body."""
        self.http.send(b"0\r\n\r\n")

    @property
    def answer(self) -> http.client.HTTPResponse:
        """The answer, from the moment that its head came."""
        if self._answer is None:
            self._answer = self.http.getresponse()
        return self._answer

    def line(self) -> Any:
        """The next line of the answer; None at its end."""
        found = self.answer.readline()
        return json.loads(found) if found else None

    def lines(self) -> Iterator[bytes]:
        """All lines of the answer that are left, as they come; a torn one at the end is none."""
        rest = b""
        while data := self.answer.read1(READ_BYTES):
            *whole, rest = (rest + data).split(b"\n")
            yield from whole

    def rest(self) -> list[Any]:
        """All lines of the answer that are left."""
        return [json.loads(line) for line in self.answer.read().splitlines()]

    def sent(self, chunks: Iterable[bytes]) -> list[Any]:
        """Send chunks and the end; then all lines of the answer, and the connection is closed."""
        try:
            for chunk in chunks:
                self.send(chunk)
            self.end()
            return self.rest()
        finally:
            self.http.close()

    def vanish(self) -> None:
        """Leave at once, with a reset."""
        assert self.http.sock is not None
        # Lingering for no time is what makes closing a reset.
        linger = struct.pack("ii", 1, 0)
        self.http.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.http.close()


def asked(service: Headrace, call: str, chunks: Iterable[bytes], model: str = "m") -> list[Any]:
    """The answers to a stream that is sent whole before they are read."""
    return Stream(service, call, model).sent(chunks)


def labels(count: int, first: int = 0, prefix: str = "f") -> list[bytes]:
    """Lines of feedback with ids of their own."""
    return [example(f"{prefix}{n}", n) for n in range(first, first + count)]


def example(id: str, n: int) -> bytes:
    """A line of feedback."""
    body = {"features": {"a": n % 17 - 8.5, "b": n % 5}, "label": n % 17 > 8, "id": id}
    return json.dumps(body).encode() + b"\n"


def question(id: str, n: int) -> bytes:
    """A line that asks."""
    return json.dumps({"features": {"a": n % 17 - 8.5, "b": n % 5}, "id": id}).encode() + b"\n"


def codes(answers: Iterable[Any]) -> list[str | None]:
    """The code of each answer that is a problem, and None for the others."""
    return [answer.get("code") for answer in answers]


@contextmanager
def reading(stream: Stream, found: list[Any]) -> Iterator[None]:
    """Read answers in a thread meanwhile, as a client does that sends and reads at once."""

    def read() -> None:
        with suppress(OSError, http.client.HTTPException):
            while (line := stream.line()) is not None:
                found.append(line)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        thread.join(120)
