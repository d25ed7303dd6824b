"""The jobs of one process: by the clock, asked for, and in children."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app import runs
from app.database import now_us
from app.jobs import SCHEDULE
from app.jobs.errand import Errand, Job
from app.jobs.running import Jobs
from app.leases import Lease
from app.runs import LEASE, Run, Runs
from app.runtime import Runtime
from app.settings import Settings
from tests import databases
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
