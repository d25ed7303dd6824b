"""PostgreSQL is stopped as by a crash, and comes back: nothing acknowledged is lost or doubled."""

import threading
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from app import log
from app.database import Database
from app.settings import Settings
from tests.databases import Server
from tests.process import Connection, Headrace

pytestmark = pytest.mark.timeout(180)

CRASHES = 2
WRITERS = 6


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that may be stopped."""
    found = Server()
    try:
        found.start()
        yield found
    finally:
        found.remove()


class Writer:
    """A client that sends each feedback until it is acknowledged."""

    def __init__(self, number: int, services: list[Headrace]) -> None:
        self.number = number
        self.services = services
        self.acknowledged: dict[str, int] = {}
        self.refused = 0

    def work(self, stop: threading.Event) -> None:
        """Send until told to stop."""
        sent = 0
        while not stop.is_set():
            sent += 1
            id, done = f"w{self.number}-{sent}", False
            while not done and not stop.is_set():
                done = self.send(id, sent)

    def send(self, id: str, n: int) -> bool:
        """Whether it was acknowledged."""
        service = self.services[n % len(self.services)]
        connection = Connection(service.port, 60)
        try:
            body = {"features": {"x": n}, "label": n % 2 == 0, "id": id}
            reply = connection.post("/v1/models/m/feedback", body)
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
        if reply.status == 200:
            self.acknowledged[id] = reply.body["offset"]
            return True
        assert reply.status == 503 and reply.headers["retry-after"], reply
        self.refused += 1
        time.sleep(0.05)
        return False


def test_a_server_that_comes_back_has_all_that_was_acknowledged(
    server: Server, tmp_path: Path
) -> None:
    url = server.url.render_as_string(hide_password=False)
    services = [
        Headrace(tmp_path, {"HEADRACE_DATABASE_URL": url, "HEADRACE_JOBS": "none"})
        for _ in range(2)
    ]
    stop = threading.Event()
    writers = [Writer(n, services) for n in range(WRITERS)]
    threads = [threading.Thread(target=writer.work, args=(stop,)) for writer in writers]
    try:
        for service in services:
            service.start()
        services[0].create("m")
        for thread in threads:
            thread.start()
        for _ in range(CRASHES):
            time.sleep(2)
            server.stop()
            # Predictions go on meanwhile, and say that nothing can be made durable.
            until = time.monotonic() + 20
            while True:
                reply = services[1].post("/v1/models/m/predict", {"features": {"x": 1}})
                assert reply.status == 200, reply
                if "degraded" in [each["code"] for each in reply.body.get("warnings", [])]:
                    break
                assert time.monotonic() < until
                time.sleep(0.1)
            server.start()
            for service in services:
                service.wait("/readyz", 60)
        time.sleep(2)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for service in services:
            service.stop()
    database = Database(Settings(database_url=url))
    try:
        with database.snapshot() as connection:
            rows = log.read(connection, 1, 0, 1_000_000)
    finally:
        database.close()
    assert [row.offset for row in rows] == list(range(1, len(rows) + 1))
    there = {row.id: row.offset for row in rows}
    acknowledged = {id: at for writer in writers for id, at in writer.acknowledged.items()}
    assert sum(writer.refused for writer in writers) > 0
    assert len(acknowledged) > 100
    assert {id: there.get(id) for id in acknowledged} == acknowledged
    assert len(there) == len(rows)
