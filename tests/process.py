"""A real Headrace process on a database file of its own, driven over real HTTP."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.databases import fresh

START_SECONDS = 120.0
LOOPBACK = "127.0.0.1"
LINEAR = ["preprocessing.StandardScaler", "linear_model.LogisticRegression"]


class Reply(NamedTuple):
    """An HTTP answer; `body` is decoded JSON, or None if there is none."""

    status: int
    body: Any
    headers: dict[str, str]


class Connection:
    """One kept-alive connection to a service."""

    def __init__(self, port: int, timeout: float = 60.0, address: str = LOOPBACK) -> None:
        self._http = http.client.HTTPConnection(address, port, timeout=timeout)

    def call(self, method: str, path: str, body: Any = None) -> Reply:
        """Send a request; bytes go as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        self._http.request(method, path, raw, {"content-type": "application/json"})
        answer = self._http.getresponse()
        content = answer.read()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, json.loads(content) if content else None, headers)

    def get(self, path: str) -> Reply:
        """GET."""
        return self.call("GET", path)

    def post(self, path: str, body: Any) -> Reply:
        """POST."""
        return self.call("POST", path, body)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


class Headrace:
    """A `headrace serve` that can be killed and started again on the same file and port."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.database = folder / "headrace.db"
        self.url = fresh(folder)
        self.port = free_port()
        self.log = folder / "serve.log"
        self.address = LOOPBACK
        self.before: list[str] = []
        """What the command is begun by, like `ip netns exec host`."""
        self.arguments: list[str] = []
        """What the command is given besides the port."""
        self.environment = {
            **{k: v for k, v in os.environ.items() if k != "PYTHONHASHSEED"},
            "HEADRACE_DATABASE_URL": self.url,
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, ready: bool = True) -> "Headrace":
        """Start the process; return once it is ready, or at least alive."""
        command = [sys.executable, "-m", "app", "serve", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.before, *command, *self.arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self.wait("/readyz" if ready else "/healthz")
        return self

    def wait(self, path: str, seconds: float = START_SECONDS) -> None:
        """Ask until the path answers 200."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"the service ended:\n{self.log.read_text()}")
            try:
                if self.get(path).status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"{path} was not answered in time:\n{self.log.read_text()}")

    @property
    def url_http(self) -> str:
        """Where it is reached."""
        return f"http://{self.address}:{self.port}"

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        return self._end(signal.SIGTERM)

    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def connect(self, timeout: float = 60.0) -> Connection:
        """A connection of one's own, for a thread or for many calls."""
        return Connection(self.port, timeout, self.address)

    def call(self, method: str, path: str, body: Any = None) -> Reply:
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            return connection.call(method, path, body)
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        """GET."""
        return self.call("GET", path)

    def post(self, path: str, body: Any) -> Reply:
        """POST."""
        return self.call("POST", path, body)

    def create(self, name: str, task: str = "binary", learner: Any = LINEAR, **more: Any) -> Reply:
        """Create a model, which must succeed."""
        body = {"name": name, "task": task, "learner": learner, **more}
        reply = self.post("/v1/models", body)
        assert reply.status == 201, reply
        return reply

    def _end(self, how: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(how)
        return process.wait(60)


@contextmanager
def headrace(folder: Path, **environment: str) -> Iterator[Headrace]:
    """A started service, killed at the end."""
    service = Headrace(folder, environment).start()
    try:
        yield service
    finally:
        service.kill()


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
