"""Runs: what the jobs were asked to do, are doing, and did.

    asked ──▶ running ──▶ done | failed | cancelled
      ▲          │ the process that ran it died
      └──────────┴──▶ what a person asked for is asked again; the rest is lost, and its next turn
                      does it

Anybody may ask, and cancel. All else is written by the process that holds the lease, and by no
other: each of its transactions checks that it still does.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.database import Database
from app.errors import NoJobs, NotReady, Overloaded, UnknownRun
from app.leases import Held, Lease, held
from app.tables import named, runs, schedule

LEASE = "jobs"
"""The lease that the process whose jobs run holds."""

LOOK_SECONDS = 0.05
"""How often somebody who waits for a run looks at it."""

KEPT = 10_000
"""How many of the newest runs are kept."""

ASKED_MAX = 1_000
"""How many runs may wait to be begun."""

TRIES = 5
"""How often what a person asked for is begun whose process dies each time."""

T = TypeVar("T")
Cause = Literal["schedule", "threshold", "person"]
State = Literal["asked", "running", "done", "failed", "cancelled", "lost"]
ENDED = ("done", "failed", "cancelled", "lost")


class Run(NamedTuple):
    """A run of a job. Instants are in microseconds; `progress` is a share of 1."""

    id: int
    job: str
    model_id: int | None
    cause: Cause
    state: State
    asked_at: int
    started_at: int | None
    ended_at: int | None
    cancelled: bool
    progress: float | None
    wanted: bytes
    did: str


class Runs:
    """Asks for runs, shows and cancels them: what any process may do."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    async def ask(self, job: str, model_id: int | None = None, **wanted: Any) -> int:
        """Ask for a run. Raises `NoJobs` if no process would take it, and `Overloaded`."""

        def work(connection: Connection) -> int:
            if holder(connection, self._clock()) is None:
                raise NoJobs(
                    "No process runs the jobs now. Start `headrace jobs`, or `headrace serve` "
                    "without --no-jobs; if one was killed, another takes over in a few seconds."
                )
            count = sa.select(sa.func.count()).where(runs.c.state == "asked")
            waiting = connection.execute(count).scalar_one()
            if waiting >= ASKED_MAX:
                raise Overloaded(
                    f"{waiting:,} runs wait to be begun, as many as may. Cancel some, or ask again "
                    "when they are done."
                )
            return _insert(connection, job, model_id, "person", self._clock(), wanted)

        return await self._database.write(work)

    async def failed(self, job: str, model_id: int, why: str) -> None:
        """Note what a person wanted of a model and could not be done."""

        def work(connection: Connection) -> None:
            now = self._clock()
            id = _insert(connection, job, model_id, "person", now, {})
            ended = {"state": "failed", "started_at": now, "ended_at": now, "did": why}
            connection.execute(sa.update(runs).where(runs.c.id == id).values(ended))

        await self._database.write(work)

    async def show(self, id: int) -> Run:
        """A run. Raises `UnknownRun`."""
        query = _ALL.where(runs.c.id == named(id))
        row = await self._database.read(lambda c: c.execute(query).one_or_none())
        if row is None:
            raise UnknownRun(f"There is no run {id}. GET /v1/jobs lists the newest ones.")
        return Run(*row)

    async def ended(self, id: int, seconds_max: float) -> Run:
        """A run once it has ended. Raises `NotReady` if that takes too long."""
        deadline = time.monotonic() + seconds_max
        while (run := await self.show(id)).state not in ENDED:
            if time.monotonic() > deadline:
                raise NotReady(f"The run {id} is not done yet. GET /v1/jobs/{id} says when it is.")
            await asyncio.sleep(LOOK_SECONDS)
        return run

    async def page(self, before: int | None, limit: int, **where: str | int | None) -> list[Run]:
        """The runs with ids under `before`, newest first, of this `job`, `model_id`, `state`."""
        query = _ALL.order_by(runs.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(runs.c.id < named(before))
        for name, value in where.items():
            if value is not None:
                query = query.where(runs.c[name] == value)
        return await self._database.read(lambda c: [Run(*row) for row in c.execute(query)])

    async def cancel(self, id: int) -> Run:
        """Have a run end as soon as it can; one that has ended stays as it is."""

        def work(connection: Connection) -> None:
            mine = runs.c.id == named(id)
            waiting = (mine, runs.c.state == "asked")
            ended = {"state": "cancelled", "ended_at": self._clock(), "cancelled": True}
            connection.execute(sa.update(runs).where(*waiting).values(ended))
            going = (mine, runs.c.state == "running")
            connection.execute(sa.update(runs).where(*going).values(cancelled=True))

        await self._database.write(work)
        return await self.show(id)


class Ledger:
    """Keeps the runs of the process that holds the lease. Raises `LeaseLost` if it does not."""

    def __init__(self, database: Database, lease: Lease, clock: Callable[[], int]) -> None:
        self._database = database
        self._lease = lease
        self._clock = clock

    async def unfinished(self) -> list[Run]:
        """What is asked for, and what runs, oldest first."""
        query = _ALL.where(runs.c.state.in_(("asked", "running"))).order_by(runs.c.id)
        return await self._database.read(lambda c: [Run(*row) for row in c.execute(query)])

    async def ask(self, job: str, model_id: int | None = None, cause: Cause = "schedule") -> None:
        """Ask for a run that no person wants, unless one of that job and model waits or goes on."""

        def work(connection: Connection) -> None:
            if not _goes_on(connection, job, model_id):
                _insert(connection, job, model_id, cause, self._clock(), {})

        await self._write(work)

    async def ask_again(self, id: int) -> None:
        """Let a run be begun again that nobody runs."""
        query = sa.update(runs).where(runs.c.id == id, runs.c.state == "running")
        await self._write(lambda c: c.execute(query.values(_ASKED)))

    async def begin(self, run: Run) -> bool:
        """Begin what was asked for; whether it still is."""
        values = {"state": "running", "started_at": self._clock()}
        # The token of the first time tells how often its process died since.
        token = sa.func.coalesce(runs.c.token, self._lease.token)
        query = sa.update(runs).where(runs.c.id == run.id, runs.c.state == "asked")
        query = query.values(**values, token=token)
        return await self._write(lambda c: c.execute(query).rowcount == 1)

    async def start(self, job: str, model_id: int | None, cause: Cause) -> Run | None:
        """Begin a run that nobody asked for; None if one of that job and model goes on."""

        def work(connection: Connection) -> Run | None:
            if _goes_on(connection, job, model_id):
                return None
            now = self._clock()
            id = _insert(connection, job, model_id, cause, now, {})
            values = {"state": "running", "started_at": now, "token": self._lease.token}
            connection.execute(sa.update(runs).where(runs.c.id == id).values(values))
            return Run(*connection.execute(_ALL.where(runs.c.id == id)).one())

        return await self._write(work)

    async def note(self, job: str, started_at: int, state: State, did: str) -> None:
        """Note a run by the clock that is over, and did something, or failed."""

        def work(connection: Connection) -> None:
            id = _insert(connection, job, None, "schedule", started_at, {})
            connection.execute(sa.update(runs).where(runs.c.id == id).values(started_at=started_at))
            self._ended(connection, id, state, did)

        await self._write(work)

    async def tell(self, id: int, progress: float) -> None:
        """Note how far a run is."""
        query = sa.update(runs).where(runs.c.id == id).values(progress=progress)
        await self._write(lambda c: c.execute(query))

    async def end(self, id: int, state: State, did: str) -> None:
        """A run has ended, and did this."""
        await self._write(lambda c: self._ended(c, id, state, did))

    async def ran(self, job: str, at: int) -> None:
        """Note when a job ran by the clock."""
        await self._write(lambda c: change(c, job, ran_at=at))

    async def take_over(self) -> int:
        """Settle what a process left that held the lease before; how many runs that were."""

        def work(connection: Connection) -> int:
            left = sa.update(runs).where(runs.c.state == "running")
            over = {"ended_at": self._clock()}
            died = f"Its process died {TRIES} times while it ran."
            again = (runs.c.cause == "person", runs.c.token > self._lease.token - TRIES)
            given_up = left.where(runs.c.cause == "person").values(**over, state="lost", did=died)
            lost = {**over, "state": "lost", "did": "Its process died."}
            steps = (
                left.where(runs.c.cancelled).values(**over, state="cancelled"),
                left.where(*again).values(_ASKED),
                given_up,
                left.values(lost),
            )
            return sum(connection.execute(step).rowcount for step in steps)

        return await self._write(work)

    def _ended(self, connection: Connection, id: int, state: State, did: str) -> None:
        values = {"state": state, "ended_at": self._clock(), "did": did}
        connection.execute(sa.update(runs).where(runs.c.id == id).values(values))
        newest = connection.execute(sa.select(sa.func.max(runs.c.id))).scalar_one()
        old = (runs.c.id <= newest - KEPT, runs.c.state.in_(ENDED))
        connection.execute(sa.delete(runs).where(*old))

    async def _write(self, work: Callable[[Connection], T]) -> T:
        def checked(connection: Connection) -> T:
            self._lease.check(connection)
            return work(connection)

        return await self._database.write(checked)


class Change(NamedTuple):
    """What was changed of a job's schedule, and when it last ran; None is as it stands there."""

    every_seconds: int | None = None
    paused: bool = False
    ran_at: int = 0


def holder(connection: Connection, now: int) -> Held | None:
    """Which process runs the jobs, and until when it does for sure; None if none does."""
    found = held(connection, LEASE)
    return None if found is None or found.until <= now else found


def changes(connection: Connection) -> dict[str, Change]:
    """What was changed of the schedule, by the names of jobs."""
    return {row.job: Change(*row[1:]) for row in connection.execute(sa.select(*_CHANGES))}


def change(connection: Connection, job: str, **values: Any) -> None:
    """Change a job's schedule: `every_seconds`, `paused`."""
    where = schedule.c.job == job
    if connection.execute(sa.select(schedule.c.job).where(where)).first() is None:
        connection.execute(sa.insert(schedule), {"job": job, **Change()._asdict(), **values})
    elif values:
        connection.execute(sa.update(schedule).where(where).values(values))


_ALL = sa.select(*(runs.c[name] for name in Run._fields))
_ASKED = {"state": "asked", "started_at": None, "progress": None}
_CHANGES = (schedule.c.job, schedule.c.every_seconds, schedule.c.paused, schedule.c.ran_at)


def _insert(
    connection: Connection,
    job: str,
    model_id: int | None,
    cause: Cause,
    at: int,
    wanted: dict[str, Any],
) -> int:
    row: dict[str, Any] = {"job": job, "model_id": model_id, "cause": cause, "state": "asked"}
    row |= {"asked_at": at, "cancelled": False, "wanted": msgspec.json.encode(wanted), "did": ""}
    result = connection.execute(sa.insert(runs), row)
    return int(result.inserted_primary_key[0])  # type: ignore[index]


def _goes_on(connection: Connection, job: str, model_id: int | None) -> bool:
    query = sa.select(runs.c.id).where(
        runs.c.state.in_(("asked", "running")), runs.c.job == job, runs.c.model_id == model_id
    )
    return connection.execute(query.limit(1)).first() is not None
