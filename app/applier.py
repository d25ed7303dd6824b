"""The applier: the one hand in a process that applies entries to its models, in offset order.

    log ──deliver──▶ replica.inbox ──▶ apply, apply, … ──▶ whoever waits for an offset
                         ▲                   ├─(the learner broke)──▶ rebuild from the log
        log.read ────────┘ (a gap)           └─(another is to go on)──▶ prepare it, then apply

Applying runs in the event loop without `await`, in slices, so that nobody ever sees a half-updated
model and no request waits for long. What takes long (restoring at the start, rebuilding after a
learner broke, loading another version) is done by a thread, of a model that nobody else holds, or
whose entries are held back meanwhile; the models go on answering.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from threading import Event
from typing import TypeVar

from app import entries, log
from app.database import Database
from app.errors import HeadraceError, LogUnavailable, NotReady
from app.live import Broke, LiveModel, Turn, Unprepared
from app.log import Row
from app.replay import READ_CHUNK, ReplayStopped, Source, let_go, prepare, ready, replay
from app.replica import DIGEST_EVERY, Replica

T = TypeVar("T")
logger = logging.getLogger(__name__)

SLICE_SECONDS = 0.005
"""How long entries are applied before requests have their turn."""

Record = Callable[[int, int, str], Awaitable[None]]
"""Appends to a model's log that the entry at an offset is unlearnable, and why."""


class Applier:
    """Holds the replicas at their logs' ends. `record` notes what cannot be learned."""

    def __init__(self, database: Database, record: Record) -> None:
        self.replicas: dict[int, Replica] = {}
        self._database = database
        self._record = record
        self._busy: deque[Replica] = deque()
        self._running = False
        self._replayer = ThreadPoolExecutor(1, "replay")
        self._stop = Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def deliver(self, rows: Sequence[Row]) -> None:
        """Take committed entries, and apply at once what a slice of time allows."""
        for row in rows:
            replica = self.replicas.get(row.model_id)
            if replica is not None:
                replica.head = max(replica.head, row.offset)
                replica.inbox.append(row)
                if len(replica.inbox) == 1:
                    self._busy.append(replica)
        if not self._running:
            self._apply_slice()
            if self._busy:
                self._running = True
                self.spawn(self._apply_rest())

    def open_model(self, replica: Replica, live: LiveModel) -> None:
        """Let a replica serve, from a live model that its log explains."""
        replica.live = live
        replica.state = "ready"
        self.replicas[replica.id] = replica

    async def restore(self, replica: Replica) -> None:
        """Replay a replica's log, then let it serve; it applies what is delivered meanwhile."""
        self.replicas[replica.id] = replica
        await self._replay_into(replica, None)

    async def catch_up(self, replica: Replica) -> None:
        """Read and apply what stands in the log and was not delivered."""
        while replica.state == "ready" and replica.live is not None and not replica.holds:
            after = replica.live.offset_applied
            query = (replica.id, after, READ_CHUNK)
            rows = await self._database.read(lambda connection: log.read(connection, *query))  # noqa: B023
            # What came by delivery meanwhile stands in `rows` too, or comes after them.
            merged = {row.offset: row for row in (*rows, *replica.inbox)}
            replica.head = max(replica.head, rows[-1].offset if rows else 0)
            was_idle = not replica.inbox
            replica.inbox = deque(merged[offset] for offset in sorted(merged) if offset > after)
            if was_idle and replica.inbox:
                self._busy.append(replica)
            self.deliver(())
            if log.is_end(rows, READ_CHUNK):
                return
            await asyncio.sleep(0)

    def spawn(self, work: Awaitable[None]) -> None:
        """Run `work` beside the requests; what it raises is logged, being a bug."""
        task = asyncio.ensure_future(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop what runs beside the requests; applied entries need no goodbye."""
        self._stop.set()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._replayer.shutdown(wait=False, cancel_futures=True)

    async def _apply_rest(self) -> None:
        try:
            while self._busy:
                await asyncio.sleep(0)
                self._apply_slice()
        finally:
            self._running = False

    def _apply_slice(self) -> None:
        deadline = time.monotonic() + SLICE_SECONDS
        while self._busy and time.monotonic() < deadline:
            replica = self._busy.popleft()
            if self._apply_some(replica, deadline):
                self._busy.append(replica)
            replica.answer_waiters()

    def _apply_some(self, replica: Replica, deadline: float) -> bool:
        """Apply from the inbox until the deadline; whether there is more to be applied now."""
        live, inbox = replica.live, replica.inbox
        if live is None or replica.state != "ready" or replica.holds:
            return False
        while inbox:
            row = inbox[0]
            if row.offset > live.offset_applied + 1:
                inbox.clear()
                self.spawn(self.catch_up(replica))
                return False
            if row.offset == live.offset_applied + 1:
                try:
                    live.apply(row.offset, entries.decode(row.body), row.at)
                except Broke as broke:
                    self._rebuild(replica, broke)
                    return False
                except Unprepared as wanted:
                    if ahead := replica.ahead.pop(wanted.entry, None):
                        live.prepared[row.offset] = ahead
                        continue
                    replica.holds += 1
                    self.spawn(self._prepare(replica, live, wanted))
                    return False
                except Exception:
                    self._fail(replica)
                    return False
            inbox.popleft()
            if row.offset % DIGEST_EVERY == 0:
                replica.note_digest()
            if live.left:
                left, live.left = live.left, []
                self._replayer.submit(let_go, left)
                del left
            if time.monotonic() >= deadline:
                return bool(inbox)
        return False

    def _rebuild(self, replica: Replica, broke: Broke) -> None:
        logger.warning("model %r: %s broke its learner: %s", replica.name, broke.offset, broke)
        replica.state = "rebuilding"
        self.spawn(self._replay_into(replica, broke))

    def restore_anew(self, replica: Replica) -> None:
        """Restore a model that answers otherwise here than elsewhere: only its log is right."""
        if replica.state == "ready":
            logger.error(
                "model %r answers otherwise here than other processes do at the same offset, and "
                "is restored from its newest version and its log",
                replica.name,
            )
            replica.state, replica.is_in_doubt = "rebuilding", True
            replica.safe_point = None
            replica.digests.clear()
            self.spawn(self._replay_into(replica, None))

    @asynccontextmanager
    async def holding(self, replica: Replica) -> AsyncIterator[LiveModel]:
        """A live model that does not change meanwhile. Raises `NotReady`."""
        replica.holds += 1
        try:
            yield replica.model
        finally:
            replica.holds -= 1
            self._go_on(replica)

    def _go_on(self, replica: Replica) -> None:
        if replica.inbox and not replica.holds:
            self._busy.append(replica)
            self.deliver(())
        elif replica.lag and not replica.holds:
            self.spawn(self.catch_up(replica))

    def source(self, replica: Replica) -> Source:
        """A model's log, whose replay ends when this process stops."""
        return Source(self._database, replica.registered, self._stop)

    async def prepare_ahead(self, replica: Replica, entry: Turn) -> None:
        """Load what an entry will want, so that nothing waits for it when it is applied.

        Raises `UnloadableVersion`, `UnknownVersion`, `LogUnavailable`.
        """
        source = self.source(replica)
        work = partial(ready, source, replica.model, entry)
        prepared = await asyncio.get_running_loop().run_in_executor(self._replayer, work)
        if prepared is not None:
            replica.ahead[entry] = prepared

    async def _prepare(self, replica: Replica, live: LiveModel, wanted: Unprepared) -> None:
        """Make the learner that an entry wants, then go on applying. Its entries are held back."""
        source = self.source(replica)
        try:
            prepared = await self._in_thread(partial(prepare, source, live, wanted))
            if prepared is not None:
                live.prepared[wanted.offset] = prepared
        except Exception:
            self._fail(replica)
        finally:
            replica.holds -= 1
            self._go_on(replica)

    async def _in_thread(self, work: Callable[[], T]) -> T | None:
        """What `work` makes, when the database allows; None if the process is stopping."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await loop.run_in_executor(self._replayer, work)
            except LogUnavailable:
                await asyncio.sleep(1)
            except ReplayStopped:
                return None

    def _fail(self, replica: Replica) -> None:
        logger.exception("model %r stopped: an entry could not be applied", replica.name)
        replica.state = "failed"
        replica.inbox.clear()
        replica.answer_waiters(NotReady(f"The model {replica.name!r} stopped. Nothing was lost."))

    async def _replay_into(self, replica: Replica, broke: Broke | None) -> None:
        source = self.source(replica)
        try:
            done = await self._in_thread(partial(replay, source, broke, replica.safe_point))
        except Exception:
            self._fail(replica)
            return
        if done is None or replica.state == "deleted":
            return
        replica.safe_point, replica.is_in_doubt = done.safe_point, False
        replica.live, replica.state = done.live, "ready"
        replica.answer_waiters()
        if replica.inbox:
            self._busy.append(replica)
        for offset in done.unrecorded:
            self.spawn(self._record(replica.id, offset, done.live.dropped[offset]))
        await self.catch_up(replica)


async def _logged(work: Awaitable[None]) -> None:
    try:
        await work
    except HeadraceError as error:
        logger.warning("%s", error)
    except Exception:
        logger.exception("something beside the requests failed, which is a bug")
