"""Runs: asked, begun and ended by who may; nothing lost, nothing doubled, nothing for ever."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from app import runs
from app.database import Database
from app.errors import NoJobs, Overloaded, UnknownRun
from app.leases import LEASE_SECONDS, Lease, LeaseLost
from app.runs import LEASE, TRIES, Ledger, Runs
from tests.inside import Clock, in_loop, settings_in

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A blank one."""
    database = Database(settings_in(tmp_path))
    yield database
    database.close()


class Held:
    """The runs as people see them, and as the process does that holds the lease."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Clock()
        self.runs = Runs(database, self.clock)
        self.holders = 0
        self.lease, self.ledger = self.another()

    def another(self) -> tuple[Lease, Ledger]:
        """Another process that may hold the lease."""
        self.holders += 1
        lease = Lease(self.database, LEASE, f"holder {self.holders}", self.clock)
        return lease, Ledger(self.database, lease, self.clock)

    async def die(self) -> int:
        """Let another process take over; how many runs were left unfinished."""
        self.clock.advance(LEASE_SECONDS + 1)
        self.lease, self.ledger = self.another()
        assert await self.lease.take()
        return await self.ledger.take_over()


@in_loop
async def test_a_run_goes_from_asked_to_done(database: Database) -> None:
    held = Held(database)
    assert await held.lease.take()
    id = await held.runs.ask("snapshot", 7, offset=3)
    run = await held.runs.show(id)
    assert (run.job, run.model_id, run.cause, run.state) == ("snapshot", 7, "person", "asked")
    assert msgspec.json.decode(run.wanted) == {"offset": 3}
    assert run.asked_at == held.clock()
    assert [found.id for found in await held.ledger.unfinished()] == [id]
    held.clock.advance(1)
    assert await held.ledger.begin(run)
    assert not await held.ledger.begin(run), "once is enough"
    await held.ledger.tell(id, 0.5)
    run = await held.runs.show(id)
    assert (run.state, run.progress, run.started_at) == ("running", 0.5, held.clock())
    await held.ledger.end(id, "done", "version 3")
    run = await held.runs.show(id)
    assert (run.state, run.did, run.ended_at) == ("done", "version 3", held.clock())
    assert await held.ledger.unfinished() == []


@in_loop
async def test_nothing_is_asked_of_nobody(database: Database) -> None:
    held = Held(database)
    with pytest.raises(NoJobs, match="headrace jobs"):
        await held.runs.ask("snapshot")
    assert await held.lease.take()
    await held.runs.ask("snapshot")
    held.clock.advance(LEASE_SECONDS)
    with pytest.raises(NoJobs):
        await held.runs.ask("snapshot")


@in_loop
async def test_no_more_may_wait_than_a_limit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "ASKED_MAX", 3)
    held = Held(database)
    assert await held.lease.take()
    ids = [await held.runs.ask("snapshot") for _ in range(3)]
    with pytest.raises(Overloaded, match="3 runs"):
        await held.runs.ask("snapshot")
    await held.runs.cancel(ids[0])
    await held.runs.ask("snapshot")


@in_loop
async def test_a_run_that_nobody_asked_for_is_begun_once_at_a_time(database: Database) -> None:
    held = Held(database)
    assert await held.lease.take()
    run = await held.ledger.start("snapshot", 1, "threshold")
    assert run is not None and run.state == "running"
    assert await held.ledger.start("snapshot", 1, "schedule") is None
    assert await held.ledger.start("snapshot", 2, "schedule") is not None
    await held.ledger.end(run.id, "done", "")
    assert await held.ledger.start("snapshot", 1, "schedule") is not None
    for _ in range(3):
        await held.ledger.ask("validate")
    assert [r.job for r in await held.ledger.unfinished()].count("validate") == 1


@in_loop
async def test_what_was_left_running_is_settled_by_the_next_holder(database: Database) -> None:
    held = Held(database)
    assert await held.lease.take()
    asked = await held.runs.ask("snapshot", 1)
    waiting = await held.runs.ask("snapshot", 2)
    cancelled = await held.runs.ask("snapshot", 3)
    scheduled = await held.ledger.start("snapshot", 4, "schedule")
    assert scheduled is not None
    for id in (asked, cancelled):
        assert await held.ledger.begin(await held.runs.show(id))
    await held.runs.cancel(cancelled)
    assert await held.die() == 3
    states = {run.id: run.state for run in await held.runs.page(None, 10)}
    assert states == {
        asked: "asked",
        waiting: "asked",
        cancelled: "cancelled",
        scheduled.id: "lost",
    }
    assert await held.ledger.begin(await held.runs.show(asked))
    await held.ledger.end(asked, "done", "at last")
    assert (await held.runs.show(asked)).did == "at last"


@in_loop
async def test_what_kills_each_process_that_begins_it_is_given_up(database: Database) -> None:
    held = Held(database)
    assert await held.lease.take()
    id = await held.runs.ask("snapshot", 1)
    for _ in range(TRIES):
        assert await held.ledger.begin(await held.runs.show(id))
        assert await held.die() == 1
    run = await held.runs.show(id)
    assert run.state == "lost"
    assert f"died {TRIES} times" in run.did


@in_loop
async def test_what_an_outdated_holder_writes_is_refused(database: Database) -> None:
    held = Held(database)
    assert await held.lease.take()
    id = await held.runs.ask("snapshot", 1)
    run, outdated = await held.runs.show(id), held.ledger
    assert await outdated.begin(run)
    await held.die()
    before = await held.runs.page(None, 10)
    for write in (
        outdated.begin(run),
        outdated.start("snapshot", 1, "schedule"),
        outdated.ask("validate"),
        outdated.ask_again(id),
        outdated.note("settle_labels", held.clock(), "done", "1 rows"),
        outdated.tell(id, 0.9),
        outdated.end(id, "done", "too late"),
        outdated.ran("settle_labels", held.clock()),
        outdated.take_over(),
    ):
        with pytest.raises(LeaseLost):
            await write
    assert await held.runs.page(None, 10) == before
    assert await database.read(runs.changes) == {}


@in_loop
async def test_what_was_never_begun_is_cancelled_at_once(database: Database) -> None:
    held = Held(database)
    assert await held.lease.take()
    id = await held.runs.ask("snapshot")
    asked = await held.runs.show(id)
    assert (await held.runs.cancel(id)).state == "cancelled"
    assert not await held.ledger.begin(asked)
    ended = await held.runs.show(id)
    held.clock.advance(5)
    assert await held.runs.cancel(id) == ended, "what has ended stays as it is"
    with pytest.raises(UnknownRun):
        await held.runs.cancel(id + 1)


@in_loop
async def test_only_the_newest_are_kept_and_whatever_has_not_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "KEPT", 10)
    held = Held(database)
    assert await held.lease.take()
    waiting = await held.runs.ask("snapshot")
    for n in range(25):
        await held.ledger.note("settle_labels", held.clock(), "done", f"{n} rows")
    kept = await held.runs.page(None, 100)
    assert [run.did for run in kept] == [*(f"{n} rows" for n in range(24, 14, -1)), ""]
    assert kept[-1].id == waiting


@in_loop
async def test_pages_are_newest_first_and_of_what_is_wanted(database: Database) -> None:
    held = Held(database)
    assert await held.lease.take()
    ids = [await held.runs.ask("a" if n % 2 else "b", n % 3) for n in range(12)]
    found: list[int] = []
    while page := await held.runs.page(found[-1] if found else None, 5):
        found += [run.id for run in page]
    assert found == ids[::-1]
    some = await held.runs.page(None, 100, job="a", model_id=0, state="asked")
    assert [run.id for run in some] == [ids[9], ids[3]]
    assert await held.runs.page(None, 100, state="done") == []
    assert await held.runs.page(1, 100) == []


@in_loop
async def test_the_schedule_keeps_what_was_changed_and_when_a_job_ran(database: Database) -> None:
    held = Held(database)
    assert await held.lease.take()
    await database.write(lambda c: runs.change(c, "sweep", paused=True))
    await held.ledger.ran("sweep", 5)
    await database.write(lambda c: runs.change(c, "sweep", every_seconds=9))
    await database.write(lambda c: runs.change(c, "sweep"))
    assert await database.read(runs.changes) == {"sweep": (9, True, 5)}


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@in_loop
async def test_the_newest_runs_are_found_without_reading_the_others(database: Database) -> None:
    unfinished = "SELECT id FROM runs WHERE state IN ('asked', 'running') ORDER BY id"
    plan = await database.read(
        lambda c: [row[-1] for row in c.execute(sa.text(f"EXPLAIN QUERY PLAN {unfinished}"))]
    )
    assert any("runs_by_state" in step for step in plan), plan
