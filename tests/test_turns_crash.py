"""Kills at random moments while versions are made, validated, swapped and gone back to.

Afterwards each version loads, the model is what its log says on every process, and no run hangs.
"""

import os
import random
import signal
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from app import versions
from app.database import Database
from app.settings import Settings
from tests.conftest import FULL
from tests.inside import answers
from tests.process import Connection, Headrace, headrace
from tests.test_jobs_process import is_running

pytestmark = pytest.mark.usefixtures("backend")

KILLS = 100 if FULL else 6
PROBES = [{"a": a, "b": b} for a in range(-2, 3) for b in range(-2, 3)]
RULES = {"snapshot": {"every_seconds": 1, "every_examples": 50}}


class Busy:
    """Sends labels, swaps and rolls back, whatever becomes of it; notes what was acknowledged."""

    def __init__(self, service: Headrace) -> None:
        self.acknowledged: set[str] = set()
        self._service = service
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._label, self._turn)]

    def __enter__(self) -> "Busy":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _label(self) -> None:
        count = 0
        for connection in self._connections():
            with suppress(OSError, HTTPException):
                while not self._stop.is_set():
                    count += 1
                    x = {"a": count % 7 - 3, "b": count % 5 - 2}
                    body = {"id": f"f{count}", "features": x, "label": x["a"] > 0}
                    if connection.post("/v1/models/m/feedback", body).status == 200:
                        self.acknowledged.add(f"f{count}")

    def _turn(self) -> None:
        draw = random.Random(5)
        for connection in self._connections():
            with suppress(OSError, HTTPException):
                while not self._stop.is_set():
                    reply = connection.get("/v1/models/m/versions")
                    known = reply.body.get("versions", []) if reply.status == 200 else []
                    if known:
                        number = draw.choice(known)["number"]
                        how = draw.choice(("swap", "rollback"))
                        body: dict[str, Any] = {"version": number, "reason": "at random"}
                        if how == "rollback":
                            body["replay"] = draw.choice(("none", "since"))
                        connection.post(f"/v1/models/m/{how}", body)
                    time.sleep(0.05)

    def _connections(self) -> Any:
        while not self._stop.is_set():
            connection = Connection(self._service.port)
            yield connection
            connection.close()
            time.sleep(0.05)


def test_whatever_is_killed_all_is_consistent(tmp_path: Path) -> None:
    draw = random.Random(11)
    with headrace(tmp_path, HEADRACE_JOBS="beside") as service:
        service.create("m", versions=RULES)
        with Busy(service) as busy:
            for _ in range(KILLS):
                time.sleep(draw.uniform(0.2, 2.5))
                what = draw.choice(("jobs", "server", "both"))
                if what in ("jobs", "both"):
                    kill_jobs(service)
                if what in ("server", "both"):
                    service.kill()
                    service.start()
        log, after = [], 0
        while page := service.get(f"/v1/models/m/log?limit=1000&after={after}").body["entries"]:
            log += page
            after = page[-1]["offset"]
        assert [entry["offset"] for entry in log] == list(range(1, len(log) + 1))
        assert busy.acknowledged <= {entry["id"] for entry in log}
        deadline = time.monotonic() + 90
        # However many were killed: the jobs run again, and a version can be made.
        while service.post("/v1/models/m/versions", {}).status not in (200, 201):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        while left := unfinished(service):
            assert time.monotonic() < deadline, left
            time.sleep(0.2)
        served = [ask(service, probe) for probe in PROBES]
        shown = service.get("/v1/models/m").body
        service.stop()
        check_versions(service)
        service.start()
        assert [ask(service, probe) for probe in PROBES] == served
        again = service.get("/v1/models/m").body
        assert {**again, "offset": 0} == {**shown, "offset": 0}


def kill_jobs(service: Headrace) -> None:
    """Kill the process that runs the jobs, if one does."""
    holder = service.get("/v1/schedule").body["holder"]
    pid = int(holder.split(":")[1]) if holder else 0
    if pid and is_running(pid):
        os.kill(pid, signal.SIGKILL)


def unfinished(service: Headrace) -> list[Any]:
    """Runs that have not ended, and were begun a while ago or by a process that is gone."""
    pages = [service.get(f"/v1/jobs?state={s}").body["jobs"] for s in ("asked", "running")]
    return [run for page in pages for run in page]


def ask(service: Headrace, x: dict[str, Any]) -> Any:
    """What is answered, and by which version."""
    body = service.post("/v1/models/m/predict", {"features": x}).body
    return body["version"], body["prediction"], body.get("probabilities")


def check_versions(service: Headrace) -> None:
    """Every version that keeps its state loads, and a replay without them says the same."""
    database = Database(Settings(database_url=service.url))
    try:
        with database.snapshot() as connection:
            known = versions.page(connection, 1)
            kept = [version for version in known if version.state_id is not None]
            assert kept
            for version in kept:
                live = versions.load(connection, database.secret, version)
                assert answers(live, PROBES)
                assert version.status in ("new", "valid"), version.checks
    finally:
        database.close()
