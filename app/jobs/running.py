"""The process that runs the jobs: it holds the lease, begins what is due, and sees it to its end.

the clock ──▶ short ──────────────────────▶ done; a row only if it did something, or failed
          └─▶ long ──▶ asked ─┐
somebody asks ──▶ asked ──────┴─▶ running ─▶ done, failed, cancelled
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from app.errors import HeadraceError, LogUnavailable, NotReady, Overloaded, UnknownModel
from app.jobs.children import ChildFailed, do_in_child
from app.jobs.errand import Errand, Job
from app.leases import Lease, LeaseLost
from app.replica import Replica
from app.runs import LEASE, Cause, Change, Ledger, Run, State, changes
from app.runtime import Runtime
from learners.states import StateRefused

logger = logging.getLogger(__name__)

RENEW_SECONDS = 2.0
"""How often the lease is renewed or tried for, and the schedule looked at."""

ASKED_SECONDS = 0.25
"""How often it is looked what was asked for."""

TELL_SECONDS = 0.5
"""How often at most it is written how far a run is."""

AGAIN_SECONDS = 1.0
"""After how long it is tried again to write what became of a run."""

UNKNOWN_SECONDS = 1.0
"""How long a run waits for a model that this process may yet come to know."""

TURN_SECONDS = 5.0
"""How long a stop waits for what the clock began."""

REMEMBERED_SECONDS = 60
"""From which interval on it is kept when a job last ran, so that a restart does not put it off."""


class Jobs:
    """Runs the jobs of a schedule, while it holds the lease."""

    def __init__(self, runtime: Runtime, schedule: Sequence[Job]) -> None:
        self.lease = Lease(runtime.database, LEASE, _holder(), runtime.clock)
        self.leads = False
        self._runtime = runtime
        self._schedule = schedule
        self._by_name = {job.name: job for job in schedule}
        self._children_max = runtime.settings.jobs_children_max
        self._ledger = Ledger(runtime.database, self.lease, runtime.clock)
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._changes: dict[str, Change] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._long: set[int] = set()
        self._told: dict[int, float] = {}
        self._leaves = self._is_closed = False
        self._turns: set[asyncio.Task[None] | None] = set()

    def open(self) -> None:
        """Try for the lease, and begin the schedule once it is held."""
        self._scheduler.start()
        for work, seconds in ((self._lead, RENEW_SECONDS), (self._look, ASKED_SECONDS)):
            self._scheduler.add_job(
                self._turn,
                "interval",
                args=[work],
                seconds=seconds,
                coalesce=True,
                misfire_grace_time=None,
                next_run_time=datetime.now(UTC),
            )

    async def close(self) -> None:
        """Begin nothing more, end what runs, and let another process go on."""
        self._is_closed = True
        self._scheduler.pause()
        await self._leave_all()
        if turns := {turn for turn in self._turns if turn is not None}:
            await asyncio.wait(turns, timeout=TURN_SECONDS)
        self._scheduler.shutdown(wait=False)
        # A turn may have begun something in the meantime.
        await self._leave_all()
        if self.leads:
            try:
                await self._ledger.take_over()
                await self.lease.release()
            except (LogUnavailable, LeaseLost):
                logger.warning("the lease of the jobs could not be released; it ends by itself")

    async def _turn(self, work: Callable[..., Awaitable[None]], *given: Any) -> None:
        """Do something by the clock, so that a stop can wait for it."""
        turn = asyncio.current_task()
        self._turns.add(turn)
        try:
            await work(*given)
        finally:
            self._turns.discard(turn)

    async def _lead(self) -> None:
        """Take or renew the lease; begin with it, and end without it."""
        before = self.lease.token
        try:
            leads = await self.lease.take()
            if self.leads and self.lease.token != before:
                # Also if it was lost and had again: what runs here is another's by now.
                await self._end()
            if leads and not self.leads:
                count = await self._ledger.take_over()
                logger.info("the jobs run here%s", f"; {count} were left unfinished" * bool(count))
                self.leads, self._leaves = True, self._is_closed
            if leads:
                await self._follow_schedule()
        except (LogUnavailable, LeaseLost):
            return

    async def _end(self) -> None:
        """Run nothing more: another process does."""
        logger.warning("the lease of the jobs was lost")
        self.leads = False
        for job in self._schedule:
            self._unschedule(job.name)
        self._changes = {}
        await self._leave_all()

    async def _follow_schedule(self) -> None:
        found = await self._runtime.database.read(changes)
        for job in self._schedule:
            change = found.get(job.name, Change())
            every = change.every_seconds or job.every_seconds
            wanted = change._replace(ran_at=0)
            if self._changes.get(job.name) == wanted or job.every_seconds is None or every is None:
                continue
            self._changes[job.name] = wanted
            self._unschedule(job.name)
            if not change.paused:
                now = self._runtime.clock() / 1e6
                first = min(max(change.ran_at / 1e6 + every, now), now + every)
                self._scheduler.add_job(
                    self._turn,
                    "interval",
                    args=[self._run, job, every],
                    seconds=every,
                    id=job.name,
                    coalesce=True,
                    misfire_grace_time=None,
                    next_run_time=datetime.fromtimestamp(first, UTC),
                )

    def _unschedule(self, name: str) -> None:
        if self._scheduler.get_job(name) is not None:
            self._scheduler.remove_job(name)

    async def _run(self, job: Job, every: int) -> None:
        """A turn by the clock: a short job leaves a row if it did something, or failed."""
        try:
            begun = self._runtime.clock()
            if job.short is None:
                await self._ledger.ask(job.name)
            else:
                errand = self._errand("schedule", None, None)
                state, did = await self._outcome(job, job.short(errand))
                if did:
                    await self._ledger.note(job.name, begun, state, did)
            if every >= REMEMBERED_SECONDS:
                await self._ledger.ran(job.name, begun)
        except (LogUnavailable, Overloaded, NotReady, LeaseLost) as error:
            logger.warning("%s: %s It runs again later.", job.name, error)

    async def _look(self) -> None:
        """Begin what is asked for, and end what is cancelled."""
        if not self.leads or self._leaves:
            return
        try:
            for run in await self._ledger.unfinished():
                task, job = self._tasks.get(run.id), self._by_name.get(run.job)
                if run.state == "running" and task is None:
                    # Nobody knew whether its beginning was written: it was.
                    await self._ledger.ask_again(run.id)
                elif run.state == "running" and task is not None:
                    if run.cancelled and not task.cancelling():
                        task.cancel()
                elif task is None and self._may_begin(run, job) and await self._ledger.begin(run):
                    self._see_to(run, job)
        except (LogUnavailable, LeaseLost):
            return

    def _may_begin(self, run: Run, job: Job | None) -> bool:
        """Whether there is a child to do it, or what it is about is known here by now."""
        if job is not None and job.long is not None:
            return len(self._long) < self._children_max
        if run.model_id is None:
            return True
        if run.model_id in self._runtime.applier.replicas:
            return self._runtime.is_restored()
        # It may have been created by another process, a moment ago.
        waited = (self._runtime.clock() - run.asked_at) / 1e6
        is_over = waited > UNKNOWN_SECONDS + self._runtime.settings.tail_poll_seconds
        return is_over and self._runtime.is_restored()

    def _see_to(self, run: Run, job: Job | None) -> "asyncio.Task[None]":
        """See a run to its end, in a task of its own."""
        task = asyncio.create_task(self._finish(run, job), name=f"run {run.id}")
        self._tasks[run.id] = task
        if job is not None and job.long is not None:
            self._long.add(run.id)
        task.add_done_callback(partial(self._forget, run.id))
        return task

    def _forget(self, id: int, _task: "asyncio.Task[None]") -> None:
        self._tasks.pop(id, None)
        self._long.discard(id)
        self._told.pop(id, None)

    async def _begin(self, name: str, replica: Replica | None, cause: Cause) -> None:
        """Begin a run that nobody asked for, unless one of that job and model is going on."""
        run = await self._ledger.start(name, None if replica is None else replica.id, cause)
        if run is not None:
            await asyncio.wait([self._see_to(run, self._by_name[name])])

    async def _finish(self, run: Run, job: Job | None) -> None:
        """Do a run, and note what became of it: also when the database is away for a while."""
        state: State
        try:
            if job is None:
                state, did = "failed", "This release has no such job."
            else:
                state, did = await self._outcome(job, self._do(run, job))
        except asyncio.CancelledError:
            # Who is no longer the holder, or stops, leaves it to the next one.
            if self._leaves:
                raise
            state, did = "cancelled", ""
        except LeaseLost:
            return
        except HeadraceError as error:
            state, did = "failed", str(error)
        while True:
            try:
                await self._ledger.end(run.id, state, did)
                return
            except LogUnavailable:
                await asyncio.sleep(AGAIN_SECONDS)
            except LeaseLost:
                return

    async def _do(self, run: Run, job: Job) -> str:
        if job.short is None:
            settings, tell = self._runtime.settings, partial(self._tell, run.id)
            return await do_in_child(job, run, settings, self.lease.token, tell)
        replica = None
        if run.model_id is not None:
            replica = self._runtime.applier.replicas.get(run.model_id)
            if replica is None:
                raise UnknownModel("The model was deleted.")
        return await job.short(self._errand(run.cause, run, replica))

    async def _outcome(self, job: Job, work: Awaitable[str]) -> tuple[State, str]:
        """What became of work, in a sentence; what passes by itself is raised."""
        try:
            did = await work
        except (LeaseLost, LogUnavailable, Overloaded, NotReady):
            raise
        except (HeadraceError, StateRefused, ChildFailed) as error:
            logger.warning("%s: %s", job.name, error)
            return "failed", str(error)
        except Exception as error:
            logger.exception("%s failed, which is a bug", job.name)
            return "failed", f"{type(error).__name__}: {error}"
        if did:
            logger.info("%s: %s", job.name, did)
        return "done", did

    def _errand(self, cause: Cause, run: Run | None, about: Replica | None) -> Errand:
        wanted = {} if run is None else msgspec.json.decode(run.wanted)
        tell = partial(self._tell, None if run is None else run.id)
        return Errand(self._runtime, self.lease, cause, wanted, about, self._begin, self._ask, tell)

    async def _ask(self, name: str, replica: Replica | None, cause: Cause) -> None:
        """Ask for a run, to be begun in its turn."""
        await self._ledger.ask(name, None if replica is None else replica.id, cause)

    async def _tell(self, id: int | None, progress: float) -> None:
        """Write how far a run is, now and then."""
        now = time.monotonic()
        if id is None or now - self._told.get(id, 0.0) < TELL_SECONDS:
            return
        self._told[id] = now
        try:
            await self._ledger.tell(id, progress)
        except LogUnavailable:
            pass

    async def _leave_all(self) -> None:
        """End what runs here, and leave it to who takes the lease next."""
        self._leaves = True
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _holder() -> str:
    """A name of this process that no other has, and that tells people which it is."""
    return f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"
