"""The calls about jobs, their runs and their schedule."""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.jobs import SCHEDULE
from app.main import create_app
from tests.conftest import problem
from tests.inside import settings_in

pytestmark = pytest.mark.usefixtures("backend")

SECONDS_MAX = 60.0


def ran(client: TestClient, id: int) -> dict[str, Any]:
    """A run, once it has ended."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        run: dict[str, Any] = client.get(f"/v1/jobs/{id}").json()
        if run["ended_at"] is not None:
            return run
        assert time.monotonic() < deadline, run
        time.sleep(0.02)


@pytest.fixture
def running(client: TestClient) -> TestClient:
    """The application, once its jobs run."""
    deadline = time.monotonic() + 5
    while client.get("/v1/schedule").json()["holder"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return client


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One application for all calls that change nothing, once its jobs run."""
    settings = settings_in(tmp_path_factory.mktemp("calm"))
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        deadline = time.monotonic() + 5
        while client.get("/v1/schedule").json()["holder"] is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield client


def test_the_schedule_is_shown_and_changed(running: TestClient) -> None:
    shown = running.get("/v1/schedule").json()
    assert str(os.getpid()) in shown["holder"] and shown["until"]
    assert {job["job"]: job["every_seconds"] for job in shown["jobs"]} == {
        job.name: job.every_seconds for job in SCHEDULE
    }
    changed = running.patch("/v1/schedule/sweep_deleted", json={"every_seconds": 7})
    assert (changed.status_code, changed.json()["every_seconds"]) == (200, 7)
    changed = running.patch("/v1/schedule/sweep_deleted", json={"paused": True})
    assert (changed.json()["every_seconds"], changed.json()["paused"]) == (7, True)
    assert changed.json()["next_at"] is None
    assert running.patch("/v1/schedule/sweep_deleted", json={}).json()["paused"] is True


def test_a_run_is_asked_for_shown_and_listed(running: TestClient) -> None:
    asked = running.post("/v1/schedule/settle_labels/run", json={})
    assert asked.status_code == 202, asked.text
    run = ran(running, asked.json()["id"])
    assert (run["job"], run["cause"], run["state"]) == ("settle_labels", "person", "done")
    ids = [run["id"]]
    for _ in range(4):
        ids.append(running.post("/v1/schedule/expire_predictions/run", json={}).json()["id"])
        ran(running, ids[-1])
    page = running.get("/v1/jobs", params={"limit": 2, "state": "done"}).json()
    assert [found["id"] for found in page["jobs"]] == ids[:-3:-1]
    page = running.get("/v1/jobs", params={"before": page["next"], "limit": 100}).json()
    assert [found["id"] for found in page["jobs"]] == ids[-3::-1]
    assert page["next"] is None
    only = running.get("/v1/jobs", params={"job": "settle_labels"}).json()["jobs"]
    assert [found["id"] for found in only] == ids[:1]
    assert running.post(f"/v1/jobs/{ids[0]}/cancel").json() == run, "it has ended"


@pytest.mark.parametrize("id", ["0", "-1", str(2**63), str(10**40), "one", "1.5", "%00", "'"])
@pytest.mark.parametrize("call", [("GET", ""), ("POST", "/cancel")])
def test_what_is_no_number_of_a_run_is_refused(
    calm: TestClient, id: str, call: tuple[str, str]
) -> None:
    method, rest = call
    reply = calm.request(method, f"/v1/jobs/{id}{rest}")
    assert (reply.status_code, problem(reply)) == (422, "invalid_parameter")


@pytest.mark.parametrize("id", ["1", str(2**63 - 1)])
def test_a_run_that_is_not_there_is_404(calm: TestClient, id: str) -> None:
    for reply in (calm.get(f"/v1/jobs/{id}"), calm.post(f"/v1/jobs/{id}/cancel")):
        assert (reply.status_code, problem(reply)) == (404, "unknown_run")


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("limit=0", 422, "invalid_parameter"),
        ("limit=1001", 422, "invalid_parameter"),
        ("before=0", 422, "invalid_parameter"),
        (f"before={2**63}", 422, "invalid_parameter"),
        ("state=undone", 422, "invalid_parameter"),
        ("job=no_such", 404, "unknown_job"),
        ("job=", 404, "unknown_job"),
        ("model=no_such", 404, "unknown_model"),
    ],
)
def test_what_runs_are_asked_for_must_make_sense(
    calm: TestClient, query: str, status: int, code: str
) -> None:
    reply = calm.get(f"/v1/jobs?{query}")
    assert (reply.status_code, problem(reply)) == (status, code)


@pytest.mark.parametrize(
    "body",
    [
        {"every_seconds": 0},
        {"every_seconds": -1},
        {"every_seconds": 31_536_001},
        {"every_seconds": 10**30},
        {"every_seconds": 1.5},
        {"every_seconds": "soon"},
        {"every_seconds": [1]},
        {"paused": "perhaps"},
        {"paused": 2},
        {"strange": 1},
        [],
        "x",
        None,
        7,
    ],
)
def test_a_schedule_that_cannot_be_is_refused(calm: TestClient, body: Any) -> None:
    reply = calm.patch("/v1/schedule/sweep_deleted", json=body)
    assert (reply.status_code, problem(reply)) == (422, "invalid_body")
    shown = calm.get("/v1/schedule").json()["jobs"]
    assert {(job["every_seconds"], job["paused"]) for job in shown} == {
        (job.every_seconds, False) for job in SCHEDULE
    }


def test_the_limits_of_an_interval_may_be_set(client: TestClient) -> None:
    for seconds in (1, 31_536_000):
        reply = client.patch("/v1/schedule/sweep_deleted", json={"every_seconds": seconds})
        assert (reply.status_code, reply.json()["every_seconds"]) == (200, seconds)


@pytest.mark.parametrize("body", [{"every_seconds": 5}, {"paused": True}])
def test_a_job_that_is_only_asked_for_has_no_schedule(calm: TestClient, body: Any) -> None:
    reply = calm.patch("/v1/schedule/snapshot", json=body)
    assert (reply.status_code, problem(reply)) == (422, "invalid_body")


@pytest.mark.parametrize("name", ["no_such", "SETTLE_LABELS", "a b", "%00", "é", "x" * 500])
def test_a_job_that_is_not_there_is_404(calm: TestClient, name: str) -> None:
    for reply in (
        calm.patch(f"/v1/schedule/{name}", json={"paused": True}),
        calm.post(f"/v1/schedule/{name}/run", json={}),
    ):
        assert (reply.status_code, problem(reply)) == (404, "unknown_job")


@pytest.mark.parametrize(
    ("job", "body", "code"),
    [
        ("settle_labels", {"model": "m"}, "invalid_body"),
        ("snapshot", {}, "invalid_body"),
        ("snapshot", {"model": None}, "invalid_body"),
        ("snapshot", {"model": 7}, "invalid_body"),
        ("snapshot", {"model": "no_such"}, "unknown_model"),
        ("settle_labels", {"strange": 1}, "invalid_body"),
        ("settle_labels", [], "invalid_body"),
        ("settle_labels", "x", "invalid_body"),
        ("settle_labels", None, "invalid_body"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(
    calm: TestClient, job: str, body: Any, code: str
) -> None:
    reply = calm.post(f"/v1/schedule/{job}/run", json=body)
    assert problem(reply) == code
    assert calm.get("/v1/jobs", params={"state": "asked"}).json()["jobs"] == []
