"""Several processes serve one database: a turn is answered when all obey it, and says who does."""

import time
from pathlib import Path

import pytest

from app.workers import ALIVE_SECONDS
from tests.process import Headrace, headrace

pytestmark = pytest.mark.usefixtures("backend")


def beside(service: Headrace) -> Headrace:
    """Another server on the same database."""
    other = Headrace(service.folder, {"HEADRACE_JOBS": "none"})
    other.log = service.folder / "other.log"
    return other.start()


def teach(service: Headrace, count: int) -> None:
    """Teach so many examples."""
    connection = service.connect()
    for n in range(count):
        body = {"features": {"a": n % 7 - 3}, "label": n % 7 > 3}
        assert connection.post("/v1/models/m/feedback", body).status == 200
    connection.close()


def test_a_rollback_is_answered_when_every_worker_serves_it(tmp_path: Path) -> None:
    with headrace(tmp_path, HEADRACE_JOBS="inside") as service:
        service.create("m")
        teach(service, 20)
        while service.get("/v1/schedule").body["holder"] is None:
            time.sleep(0.1)
        assert service.post("/v1/models/m/versions", {}).body["number"] == 1
        teach(service, 20)
        alone = service.post("/v1/models/m/rollback", {"version": 1}).body
        assert [worker["obeys"] for worker in alone["workers"]] == [True]
        other = beside(service)
        try:
            both = service.post("/v1/models/m/rollback", {"version": 1, "replay": "since"}).body
            assert [(w["version"], w["obeys"]) for w in both["workers"]] == [(1, True), (1, True)]
            question = {"features": {"a": 2}}
            answers = [s.post("/v1/models/m/predict", question).body for s in (service, other)]
            assert answers[0]["probabilities"] == answers[1]["probabilities"]
            assert answers[0]["version"] == answers[1]["version"] == 1
            # Whom nobody told that it is gone is waited for, but not for long.
            other.kill()
            began = time.monotonic()
            after = service.post("/v1/models/m/freeze", {"reason": "alone again"}).body
            assert time.monotonic() - began < ALIVE_SECONDS + 5
            assert [worker["obeys"] for worker in after["workers"]] == [True]
        finally:
            other.kill()


def test_who_stops_is_not_waited_for(tmp_path: Path) -> None:
    with headrace(tmp_path, HEADRACE_JOBS="none") as service:
        service.create("m")
        other = beside(service)
        assert len(service.post("/v1/models/m/freeze", {}).body["workers"]) == 2
        other.stop()
        assert len(service.post("/v1/models/m/unfreeze", {"learn": True}).body["workers"]) == 1
