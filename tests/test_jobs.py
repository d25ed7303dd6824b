"""The jobs of one process: by the clock, asked for, in children; and the calls about them."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import runs
from app.database import now_us
from app.jobs import SCHEDULE
from app.jobs.errand import Errand, Job
from app.jobs.running import Jobs
from app.leases import Lease
from app.main import create_app
from app.runs import LEASE, Run, Runs
from app.runtime import Runtime
from app.settings import Settings
from tests import databases
from tests.conftest import problem
from tests.inside import create, in_loop, opened, settings_in
from tests.long_jobs import MORE

pytestmark = pytest.mark.usefixtures("backend")

SECONDS_MAX = 60.0


class Desk:
    """Where jobs are asked for, and looked at."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.runs = Runs(runtime.database, runtime.clock)

    async def ask(self, job: str, model_id: int | None = None, **wanted: Any) -> int:
        """Ask for a run."""
        return await self.runs.ask(job, model_id, **wanted)

    async def until(self, id: int, holds: Callable[[Run], bool]) -> Run:
        """Wait until something holds of a run."""
        async with asyncio.timeout(SECONDS_MAX):
            while not holds(run := await self.runs.show(id)):
                await asyncio.sleep(0.02)
        return run

    async def ended(self, id: int) -> Run:
        """Wait for a run's end."""
        return await self.until(id, lambda run: run.ended_at is not None)


@asynccontextmanager
async def working(folder: Path, *more: Job, **settings: Any) -> AsyncIterator[Desk]:
    """Jobs that run, those of the tests among them."""
    if not databases.is_made(folder):
        settings_in(folder)
    url = databases.at(folder)
    async with opened(Settings(database_url=url, **settings)) as runtime:
        jobs = Jobs(runtime, (*SCHEDULE, *MORE, *more))
        jobs.open()
        async with asyncio.timeout(5):
            while not jobs.leads:
                await asyncio.sleep(0.01)
        try:
            yield Desk(runtime)
        finally:
            await jobs.close()


@in_loop
async def test_what_is_asked_for_is_begun_within_a_moment(tmp_path: Path) -> None:
    async with working(tmp_path) as desk:
        replica = await create(desk.runtime)
        began = time.monotonic()
        run = await desk.ended(await desk.ask("echo", replica.id, a=1))
        assert time.monotonic() - began < 1.0
        assert (run.state, run.did) == ("done", "person m {'a': 1}")
        run = await desk.ended(await desk.ask("echo", None, fault="as told"))
        assert (run.state, run.did) == ("failed", "ValueError: as told")
        run = await desk.ended(await desk.ask("no_such_job"))
        assert (run.state, run.did) == ("failed", "This release has no such job.")
        run = await desk.ended(await desk.ask("echo", 999))
        assert (run.state, run.did) == ("failed", "The model was deleted.")


@in_loop
async def test_a_long_job_tells_how_far_it_is_and_what_it_did(tmp_path: Path) -> None:
    async with working(tmp_path) as desk:
        id = await desk.ask("count", to=4, seconds=0.6, file=str(tmp_path / "pids"))
        run = await desk.until(id, lambda run: bool(run.progress))
        assert run.state == "running" and run.progress is not None and 0 < run.progress < 1
        run = await desk.ended(id)
        assert (run.state, run.did) == ("done", "counted to 4")
        assert int((tmp_path / "pids").read_text()) != os.getpid()


@in_loop
async def test_a_child_that_fails_says_why(tmp_path: Path) -> None:
    async with working(tmp_path, jobs_children_max=3) as desk:
        ids = [await desk.ask("fail", how=how) for how in ("raise", "exit", "silently")]
        said = [(run.state, run.did) for run in [await desk.ended(id) for id in ids]]
        assert said == [
            ("failed", "ValueError: it was told to fail"),
            ("failed", "the last words"),
            ("failed", "It ended with status 0, and said nothing."),
        ]


@in_loop
async def test_a_long_job_that_is_cancelled_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    async with working(tmp_path) as desk:
        id = await desk.ask("count", to=600, seconds=1, file=str(file))
        async with asyncio.timeout(SECONDS_MAX):
            while not (file.exists() and file.read_text()):
                await asyncio.sleep(0.02)
        began = time.monotonic()
        assert (await desk.runs.cancel(id)).cancelled
        run = await desk.ended(id)
        assert run.state == "cancelled"
        assert time.monotonic() - began < 2.0
        assert not is_running(int(file.read_text()))


@in_loop
async def test_long_jobs_have_a_limit_and_delay_no_short_ones(tmp_path: Path) -> None:
    async with working(tmp_path, jobs_children_max=1) as desk:
        ids = [await desk.ask("count", to=2, seconds=0.5) for _ in range(2)]
        began = time.monotonic()
        assert (await desk.ended(await desk.ask("echo"))).state == "done"
        assert time.monotonic() - began < 1.5
        first, second = await desk.ended(ids[0]), await desk.ended(ids[1])
        assert second.started_at is not None and first.ended_at is not None
        assert second.started_at >= first.ended_at


@in_loop
async def test_a_stop_leaves_what_runs_to_the_next_process(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    async with working(tmp_path) as desk:
        id = await desk.ask("count", to=2, seconds=1, file=str(file))
        async with asyncio.timeout(SECONDS_MAX):
            while not (file.exists() and file.read_text()):
                await asyncio.sleep(0.02)
        runtime = desk.runtime
        began = runtime.clock()
    async with working(tmp_path) as desk:
        run = await desk.ended(id)
        assert (run.state, run.did) == ("done", "counted to 2")
        assert run.started_at is not None and run.started_at > began
        pids = [int(line) for line in file.read_text().split()]
        assert len(pids) == 2 and not is_running(pids[0])


@in_loop
async def test_who_loses_the_lease_ends_what_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    async with working(tmp_path) as desk:
        id = await desk.ask("count", to=3, seconds=1, file=str(file))
        async with asyncio.timeout(SECONDS_MAX):
            while not (file.exists() and file.read_text()):
                await asyncio.sleep(0.02)
        first = int(file.read_text())
        # Another whose clock is ahead takes it, and is found to hold it for longer than may be.
        ahead = Lease(desk.runtime.database, LEASE, "ahead", lambda: now_us() + 9_000_000)
        assert await ahead.take()
        run = await desk.ended(id)
        assert (run.state, run.did) == ("done", "counted to 3")
        assert not is_running(first)
        assert len(file.read_text().split()) == 2


class Tally:
    """A short job that counts its turns."""

    def __init__(self) -> None:
        self.turns = 0

    async def turn(self, errand: Errand) -> str:
        """One more."""
        self.turns += 1
        return ""


@in_loop
async def test_a_change_of_the_schedule_holds_within_seconds(tmp_path: Path) -> None:
    tally = Tally()
    async with working(tmp_path, Job("tally", 3_600, "Counts turns.", tally.turn)) as desk:
        write = desk.runtime.database.write
        await asyncio.sleep(0.3)
        assert tally.turns == 1, "what never ran is begun at once"
        await write(lambda c: runs.change(c, "tally", every_seconds=1))
        async with asyncio.timeout(8):
            while tally.turns < 4:
                await asyncio.sleep(0.05)
        await write(lambda c: runs.change(c, "tally", paused=True))
        await asyncio.sleep(2.5)
        before = tally.turns
        await asyncio.sleep(1.5)
        assert tally.turns == before
        # Who asks has it all the same.
        await desk.ended(await desk.ask("tally"))
        assert tally.turns == before + 1
        turns = [run for run in await desk.runs.page(None, 100, job="tally")]
        assert [run.cause for run in turns] == ["person"], "uneventful turns leave no rows"


@in_loop
async def test_a_restart_does_not_put_off_what_is_due(tmp_path: Path) -> None:
    tally = Tally()
    job = Job("tally", 60, "Counts turns.", tally.turn)
    for _ in range(2):
        async with working(tmp_path, job) as desk:
            await asyncio.sleep(0.3)
            assert tally.turns == 1, "it is not due again so soon"
    now = desk.runtime.clock()
    async with opened(Settings(database_url=databases.at(tmp_path))) as runtime:
        await runtime.database.write(lambda c: runs.change(c, "tally", ran_at=now - 61_000_000))
    async with working(tmp_path, job):
        await asyncio.sleep(0.3)
        assert tally.turns == 2


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


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
