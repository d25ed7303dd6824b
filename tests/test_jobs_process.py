"""The processes that run the jobs, killed at any moment: one is active, another takes over."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.database import Database, now_us
from app.leases import LEASE_SECONDS
from app.runs import Runs
from app.settings import Settings
from tests.conftest import FULL
from tests.process import Headrace

ROOT = Path(__file__).parent.parent
TAKEN_OVER_SECONDS = 15.0
KILLS = 20 if FULL else 2
SEED = 4
pytestmark = [pytest.mark.timeout(1_800 if FULL else 300), pytest.mark.usefixtures("backend")]


class Worker:
    """A `headrace jobs` on the database of a service."""

    def __init__(self, service: Headrace, module: str = "app") -> None:
        self.service = service
        self.command = [sys.executable, "-m", module, *(["jobs"] if module == "app" else [])]
        self.log = service.folder / "jobs.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Worker":
        """Start it."""
        seed = {"PYTHONHASHSEED": os.environ["PYTHONHASHSEED"]}
        environment = {**self.service.environment, **seed, "PYTHONPATH": str(ROOT)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.service.folder, env=environment, stdout=log, stderr=log
            )
        return self

    def end(self, how: signal.Signals) -> None:
        """End it, in one way or the other."""
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(30)


class Trial:
    """A service, and processes for its jobs."""

    def __init__(self, folder: Path) -> None:
        # One hash seed for all: none of them has to start anew under another.
        seed = {"PYTHONHASHSEED": os.environ["PYTHONHASHSEED"]}
        self.service = Headrace(folder, {"HEADRACE_JOBS": "none", **seed})
        self.workers: list[Worker] = []

    def worker(self, module: str = "app") -> Worker:
        """One more process for the jobs."""
        self.workers.append(Worker(self.service, module).start())
        return self.workers[-1]

    def holder(self, but: int = 0, seconds: float = 60.0) -> int:
        """The process that runs the jobs, once it is another one than this."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.service.get("/v1/schedule").body["holder"]
            pid = 0 if found is None else int(found.split(":")[1])
            if pid and pid != but:
                return pid
            assert time.monotonic() < deadline, "nobody runs the jobs"
            time.sleep(0.05)

    def ended(self, id: int, seconds: float = 60.0) -> dict[str, Any]:
        """A run, once it has ended."""
        deadline = time.monotonic() + seconds
        while (run := self.service.get(f"/v1/jobs/{id}").body)["ended_at"] is None:
            assert time.monotonic() < deadline, run
            time.sleep(0.05)
        return dict(run)

    def close(self) -> None:
        """Kill all of it."""
        self.service.kill()
        for worker in self.workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.end(signal.SIGKILL)


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    """A service without jobs beside it."""
    trial = Trial(tmp_path)
    try:
        yield trial
    finally:
        trial.close()


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def until_gone(pid: int, seconds: float = 20.0) -> float:
    """How long it takes until a process is gone."""
    began = time.monotonic()
    while is_running(pid):
        assert time.monotonic() - began < seconds, f"process {pid} goes on"
        time.sleep(0.02)
    return time.monotonic() - began


def test_another_takes_over_from_one_that_is_killed_and_at_once_from_one_that_stops(
    trial: Trial,
) -> None:
    trial.service.start()
    asked = trial.service.post("/v1/schedule/settle_labels/run", {})
    assert (asked.status, asked.body["code"]) == (503, "no_jobs")
    assert asked.headers["retry-after"]
    workers = {each.process.pid: each for each in (trial.worker(), trial.worker()) if each.process}
    first = trial.holder()
    workers[first].end(signal.SIGKILL)
    began = time.monotonic()
    second = trial.holder(but=first, seconds=TAKEN_OVER_SECONDS)
    taken_over = time.monotonic() - began
    assert second in workers and taken_over < TAKEN_OVER_SECONDS
    third = trial.worker()
    time.sleep(3)
    assert trial.holder() == second, "it is not taken from who lives"
    workers[second].end(signal.SIGTERM)
    began = time.monotonic()
    assert third.process is not None
    assert trial.holder(but=second) == third.process.pid
    assert time.monotonic() - began < LEASE_SECONDS / 2


def test_the_server_begins_its_jobs_again_and_goes_on_meanwhile(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    trial.service.environment["HEADRACE_JOBS"] = "beside"
    service = trial.service.start()
    try:
        service.create("m")
        first = trial.holder()
        failures: list[Any] = []
        stop = threading.Event()

        def ask() -> None:
            connection = service.connect()
            while not stop.is_set():
                for call, body in (("predict", {"features": {"a": 1}}),) * 3 + (
                    ("feedback", {"features": {"a": 1}, "label": True}),
                ):
                    reply = connection.post(f"/v1/models/m/{call}", body)
                    if reply.status != 200:
                        failures.append(reply)
            connection.close()

        asking = threading.Thread(target=ask)
        asking.start()
        os.kill(first, signal.SIGKILL)
        second = trial.holder(but=first, seconds=TAKEN_OVER_SECONDS)
        time.sleep(0.5)
        stop.set()
        asking.join(30)
        assert not failures
        assert is_running(second)
        assert "it begins again" in service.log.read_text()
        # Killed, the server takes it along; stopped, too.
        service.kill()
        until_gone(second)
        service.start()
        third = trial.holder(but=second)
        began = time.monotonic()
        assert service.stop() in (0, -signal.SIGTERM)
        assert time.monotonic() - began < 10
        assert not is_running(third)
        assert "Traceback" not in service.log.read_text()
    finally:
        trial.close()


def test_default_labels_are_learned_once_whichever_process_is_killed(trial: Trial) -> None:
    service, chance = trial.service.start(), random.Random(SEED)
    service.create("m", labels={"wait_seconds": 0.5, "default": False})
    service.create("n", labels={"wait_seconds": 0.5})
    trial.worker()
    trial.worker()
    made = 0
    connection = service.connect()
    for _ in range(KILLS):
        holder = trial.holder()
        for _ in range(200):
            for model in ("m", "n"):
                body = {"features": {"a": chance.gauss(0, 1)}}
                assert connection.post(f"/v1/models/{model}/predict", body).status == 200
            made += 1
        time.sleep(chance.uniform(0.3, 1.0))
        [worker] = [each for each in trial.workers if each.process and each.process.pid == holder]
        worker.end(signal.SIGKILL)
        trial.holder(but=holder, seconds=TAKEN_OVER_SECONDS)
        worker.start()
    deadline = time.monotonic() + 30
    while True:
        of_m = connection.get("/v1/models/m/metrics").body
        of_n = connection.get("/v1/models/n/metrics").body
        settled = (of_m["labels"]["default"], of_n["labels"]["expired"])
        if settled == (made, made) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    time.sleep(1.5)
    of_m = connection.get("/v1/models/m/metrics").body
    of_n = connection.get("/v1/models/n/metrics").body
    assert (of_m["labels"]["default"], of_n["labels"]["expired"]) == (made, made)
    assert of_m["offset"] == 1 + made
    connection.close()


def test_what_is_asked_for_is_done_once_though_its_process_is_killed(trial: Trial) -> None:
    file = trial.service.folder / "pids"
    trial.service.start()
    first = trial.worker("tests.long_jobs_process")
    assert first.process is not None and trial.holder() == first.process.pid
    id = asked(trial, "count", to=3, seconds=1, file=str(file))
    deadline = time.monotonic() + 30
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = int(file.read_text())
    trial.worker("tests.long_jobs_process")
    first.end(signal.SIGKILL)
    # The child hangs on it, so that the next process cannot do the same beside it.
    assert until_gone(child) < 5
    run = trial.ended(id)
    assert (run["state"], run["did"]) == ("done", "counted to 3")
    assert len(file.read_text().split()) == 2, "begun anew, and then no more"
    page = trial.service.get("/v1/jobs?limit=1000").body["jobs"]
    assert [found["id"] for found in page if found["job"] == "count"] == [id]


def test_what_runs_is_cancelled_by_a_call(trial: Trial) -> None:
    file = trial.service.folder / "pids"
    trial.service.start()
    trial.worker("tests.long_jobs_process")
    trial.holder()
    id = asked(trial, "count", to=600, seconds=1, file=str(file))
    deadline = time.monotonic() + 30
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert trial.service.post(f"/v1/jobs/{id}/cancel", {}).status == 200
    assert trial.ended(id, seconds=3)["state"] == "cancelled"
    assert until_gone(int(file.read_text())) < 2


def asked(trial: Trial, job: str, **wanted: Any) -> int:
    """Ask for a job that only tests have: no call knows it, so it is asked for in the database."""

    async def ask() -> int:
        database = Database(Settings(database_url=trial.service.url))
        try:
            return await Runs(database, now_us).ask(job, None, **wanted)
        finally:
            database.close()

    return asyncio.run(ask())
