"""Nothing can be written: the disk is full, or another process holds the database.

Predictions go on and say so, feedback is refused whole, and when writing is possible again all
goes on by itself, with nothing lost and nothing doubled.
"""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from threading import Event

import pytest

from tests.faults.disk import on_disk
from tests.faults.ledger import Ledger, log_of, numbers, state_of
from tests.faults.lock import held
from tests.process import Headrace

OUTAGE_SECONDS = 3.0
RECOVERY_SECONDS = 5.0
WRITERS = 4


@pytest.mark.parametrize("outage", ["full", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_while_nothing_can_be_written_predictions_go_on_and_feedback_is_refused(
    outage: str, tmp_path: Path
) -> None:
    with on_disk(tmp_path, HEADRACE_DATABASE_BUSY_MS="300") as (service, disk):
        service.start().create("m")
        pid = service.pid
        ledger, stop = Ledger("m"), Event()
        with ThreadPoolExecutor(WRITERS) as pool:
            writing = [pool.submit(write, service, ledger, n, stop) for n in range(WRITERS)]
            time.sleep(0.5)
            broken = disk.full() if outage == "full" else held(service.database, outage)
            made = go_without(service, ledger, broken)
            recover(service, ledger)
            time.sleep(0.5)
            stop.set()
            for work in writing:
                work.result(30)
        connection = service.connect()
        for n, id in enumerate(made):
            assert ledger.send(connection, f"late-{n}", prediction_id=id, label=True).status == 200
        connection.close()
        ledger.settle(service)
        ledger.check(service)
        assert len(log_of(service, "m")) == 1 + len(ledger.sent)
        before = state_of(service, "m")
        assert service.pid == pid
        service.kill()
        service.start()
        ledger.check(service)
        assert state_of(service, "m") == before


def write(service: Headrace, ledger: Ledger, number: int, stop: Event) -> None:
    """Send feedback until told to stop, whatever is answered."""
    chance = random.Random(number)
    connection = service.connect()
    n = 0
    while not stop.is_set():
        n += 1
        body = {"features": numbers(chance), "label": chance.random() < 0.5}
        if ledger.send(connection, f"{number}/{n}", **body).status == 503:
            time.sleep(0.05)
    connection.close()


def go_without(
    service: Headrace, ledger: Ledger, broken: AbstractContextManager[None]
) -> list[str]:
    """Let nothing be written for a while; the predictions that were made meanwhile."""
    chance = random.Random(9)
    connection = service.connect()
    made: list[str] = []
    with broken:
        deadline = time.monotonic() + OUTAGE_SECONDS
        for n in count():
            example = {"features": numbers(chance), "label": True}
            if ledger.send(connection, f"before-{n}", **example).status == 503:
                break
            assert time.monotonic() < deadline, "feedback is taken still"
        refused = ledger.send(connection, "second", features=numbers(chance), label=False)
        assert (refused.status, refused.body["code"]) == (503, "log_unavailable")
        while time.monotonic() < deadline:
            reply = connection.post("/v1/models/m/predict", {"features": numbers(chance)})
            assert reply.status == 200, reply
            assert [warned["code"] for warned in reply.body["warnings"]] == ["degraded"]
            made.append(reply.body["id"])
            time.sleep(0.02)
        named = {"features": numbers(chance), "id": "named"}
        assert connection.post("/v1/models/m/predict", named).status == 200
        ready = connection.get("/readyz")
        assert (ready.status, ready.headers["retry-after"]) == (503, "1")
        assert connection.get("/healthz").status == 200
    connection.close()
    return made[:: max(1, len(made) // 20)]


def recover(service: Headrace, ledger: Ledger) -> None:
    """All is as before within a few seconds, asked by nobody."""
    connection = service.connect()
    chance = random.Random(10)
    deadline = time.monotonic() + RECOVERY_SECONDS
    while "warnings" in connection.post("/v1/models/m/predict", {"features": numbers(chance)}).body:
        assert time.monotonic() < deadline, "the service stays degraded"
        time.sleep(0.05)
    assert connection.get("/readyz").status == 200
    assert ledger.send(connection, "second").status == 200
    connection.close()
