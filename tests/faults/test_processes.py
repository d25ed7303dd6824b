"""Two processes serve one file: what one appends the other applies, in one order, without a gap."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.ledger import Ledger, log_of, numbers, state_of
from tests.process import Headrace

WRITERS = 4
EACH = 100


def test_two_processes_on_one_file_answer_the_same(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    try:
        first.start()
        second.start()
        first.create("m")
        wait_until_level(first, second)
        ledger = Ledger("m")
        with ThreadPoolExecutor(2 * WRITERS) as pool:
            writing = [
                pool.submit(write, service, ledger, f"{number}{service.port}", EACH)
                for number in range(WRITERS)
                for service in (first, second)
            ]
            for work in writing:
                work.result(60)
        ledger.settle(first)
        wait_until_level(first, second)
        ledger.check(first)
        assert log_of(first, "m") == log_of(second, "m")
        assert len(log_of(first, "m")) == 1 + 2 * WRITERS * EACH
        assert state_of(first, "m") == state_of(second, "m")
        check_crossing(first, second, ledger)
    finally:
        first.kill()
        second.kill()


def test_when_one_of_two_processes_is_killed_the_other_goes_on(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    try:
        first.start()
        second.start()
        first.create("m")
        wait_until_level(first, second)
        ledger = Ledger("m")
        with ThreadPoolExecutor(2) as pool:
            # With features of its own: the last predictions of a killed process are forgotten.
            doomed = pool.submit(write, second, ledger, "doomed", 100_000, joined=False)
            going = pool.submit(write, first, ledger, "going", EACH)
            time.sleep(0.3)
            second.kill()
            assert isinstance(doomed.exception(30), OSError)
            going.result(60)
        ledger.settle(first)
        ledger.check(first)
        second.start()
        wait_until_level(first, second)
        assert state_of(first, "m") == state_of(second, "m")
    finally:
        first.kill()
        second.kill()


def pair(folder: Path) -> tuple[Headrace, Headrace]:
    """Two services on one file; the second looks often for what the first did, and the reverse."""
    environment = {"HEADRACE_TAIL_POLL_SECONDS": "0.1"}
    first = Headrace(folder, environment)
    beside = folder / "beside"
    beside.mkdir()
    url = first.environment["HEADRACE_DATABASE_URL"]
    return first, Headrace(beside, {**environment, "HEADRACE_DATABASE_URL": url})


def write(service: Headrace, ledger: Ledger, name: str, count: int, joined: bool = True) -> None:
    """Send feedback with features of its own; every second one `joined` with a prediction."""
    chance = random.Random(name)
    connection = service.connect()
    try:
        for n in range(count):
            features = numbers(chance)
            if joined and n % 2:
                made = connection.post("/v1/models/m/predict", {"features": features}).body["id"]
                ledger.send(connection, f"{name}/{n}", prediction_id=made, label=True)
            else:
                ledger.send(connection, f"{name}/{n}", features=features, label=False)
    finally:
        connection.close()


def wait_until_level(first: Headrace, second: Headrace) -> None:
    """Wait until both have applied the whole log."""
    deadline = time.monotonic() + 20
    while True:
        shown = [service.get("/v1/models/m") for service in (first, second)]
        if all(reply.status == 200 for reply in shown):
            head = len(log_of(first, "m"))
            if all(reply.body["offset"] == head for reply in shown):
                return
        assert time.monotonic() < deadline, [reply.body for reply in shown]
        time.sleep(0.05)


def check_crossing(first: Headrace, second: Headrace, ledger: Ledger) -> None:
    """What was asked of one may be labelled, repeated, deleted or created through the other."""
    mine, other = first.connect(), second.connect()
    id = next(iter(ledger.acknowledged))
    again = ledger.send(other, id)
    assert (again.status, again.body["duplicate"]) == (200, True)
    made = mine.post("/v1/models/m/predict", {"features": {"x": 1.0, "z": 2.0}}).body["id"]
    # The first writes its predictions behind the answers, and the second reads them there.
    time.sleep(1)
    assert ledger.send(other, "crossing", prediction_id=made, label=True).status == 200
    twice = {"prediction_id": made, "label": False, "id": "twice"}
    assert mine.post("/v1/models/m/feedback", twice).body["code"] == "already_labelled"
    assert mine.call("DELETE", "/v1/models/m").status == 204
    wait_for_status(second, 404)
    second.create("m")
    wait_for_status(first, 200)
    mine.close()
    other.close()


def wait_for_status(service: Headrace, status: int) -> None:
    """Wait until the service has seen what the other one did to the model."""
    deadline = time.monotonic() + 10
    while service.get("/v1/models/m").status != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)
