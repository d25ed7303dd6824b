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
import heapq
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from threading import Event
from typing import Literal, TypeVar

from app import entries, log
from app.database import Database
from app.errors import HeadraceError, LogUnavailable, NotReady, UnknownModel
from app.live import Broke, LiveModel, Prepared, Turn, Unprepared
from app.log import Row
from app.registry import Registered
from app.replay import READ_CHUNK, ReplayStopped, SafePoint, Source, let_go, prepare, ready, replay
from learners.learner import Learner

T = TypeVar("T")
logger = logging.getLogger(__name__)

SLICE_SECONDS = 0.005
"""How long entries are applied before requests have their turn."""

State = Literal["restoring", "ready", "rebuilding", "failed", "deleted"]
Types = Mapping[str, entries.FeatureType]
Record = Callable[[int, int, str], Awaitable[None]]
"""Appends to a model's log that the entry at an offset is unlearnable, and why."""


class Replica:
    """What this process holds of one model: its live state, and what waits for it."""

    def __init__(self, registered: Registered) -> None:
        self.registered = registered
        self.id = registered.id
        self.name = registered.name
        self.created = registered.created
        self.created_at = registered.created_at
        self.state: State = "restoring"
        self.live: LiveModel | None = None
        self.inbox: deque[Row] = deque()
        self.head = registered.head
        """How far its log reaches, as far as this process knows."""
        self.safe_point: SafePoint | None = None
        self.ahead: dict[Turn, Prepared] = {}
        """Learners of entries that are about to be appended."""
        self.holds = 0
        """How many hold its entries back: they wait in the inbox, and the model does not change."""
        self.compared = 0
        """How many scored examples its learner had when it was last compared with its versions."""
        self.reported: frozenset[int] = frozenset()
        """The versions than which it was last found worse."""
        self.types_claimed: dict[str, entries.FeatureType] = {}
        self.labels_claimed: set[entries.Label] = set()
        self._claims: Counter[str | tuple[entries.Label]] = Counter()
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waited = 0

    @property
    def model(self) -> LiveModel:
        """The live model. Raises `NotReady` while there is none that its log explains."""
        if self.state == "deleted":
            raise UnknownModel(f"The model {self.name!r} was deleted meanwhile.")
        if self.state == "failed":
            raise NotReady(
                f"The model {self.name!r} stopped: its state is not what its log says. The log of "
                "operations says more; a restart restores it."
            )
        if self.live is None:
            raise NotReady(
                f"The model {self.name!r} is being restored from its log. GET /readyz says when it "
                "is done."
            )
        return self.live

    @property
    def learner(self) -> Learner:
        """The learner. Raises `NotReady` also while it is being rebuilt."""
        learner = self.model.learner
        if learner is None:
            raise NotReady(
                f"The learner of {self.name!r} is being rebuilt from its log. Ask again."
            )
        return learner

    @property
    def lag(self) -> int:
        """How many entries this process knows of and has not applied."""
        return max(0, self.head - self.live.offset_applied) if self.live is not None else self.head

    def is_behind(self, head: int) -> bool:
        """Whether the log reaches further than what was applied or delivered."""
        self.head = max(self.head, head)
        return self.live is not None and not self.inbox and self.live.offset_applied < head

    async def applied(self, offset: int, seconds_max: float | None) -> None:
        """Wait until this process has applied the entry at `offset`. Raises `NotReady`.

        None waits as long as it takes.
        """
        if not await self._reaches(offset, seconds_max):
            raise NotReady(
                f"The feedback is durable at offset {offset:,}, and the model {self.name!r} has "
                "not learned it yet. Send it again with the same id to know when it has."
            )

    async def reached(self, offset: int, seconds_max: float) -> None:
        """Wait until this process has applied what another may have appended. `NotReady`."""
        if not await self._reaches(offset, seconds_max):
            raise NotReady(
                f"This process knows the model {self.name!r} up to offset "
                f"{self.model.offset_applied:,}, and min_offset is {offset:,}. Ask again after the "
                "time that Retry-After says; if it never gets there, no such entry was appended."
            )

    async def _reaches(self, offset: int, seconds_max: float | None) -> bool:
        """Whether the entry at `offset` is applied, or is in time."""
        if self.model.offset_applied >= offset:
            return True
        self._waited += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (offset, self._waited, future))
        try:
            async with asyncio.timeout(seconds_max):
                await future
        except TimeoutError:
            return False
        return True

    def answer_waiters(self, error: HeadraceError | None = None) -> None:
        """Let go whoever waits for an offset that is applied; with an error, everybody."""
        reached = self.live.offset_applied if self.live is not None else 0
        while self._waiters and (error is not None or self._waiters[0][0] <= reached):
            future = heapq.heappop(self._waiters)[2]
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def claim(self, types: Types, labels: Sequence[entries.Label]) -> None:
        """Note what feedback on its way fixes once it is applied: types of features, a label."""
        self.types_claimed.update(types)
        self.labels_claimed.update(labels)
        self._claims.update([*types, *((label,) for label in labels)])

    def settle(self, types: Types, labels: Sequence[entries.Label]) -> None:
        """Such feedback was applied, or came to nothing: it claims nothing more."""
        for name in types:
            self._claims[name] -= 1
            if not self._claims[name]:
                del self._claims[name], self.types_claimed[name]
        for label in labels:
            self._claims[label,] -= 1
            if not self._claims[label,]:
                del self._claims[label,]
                self.labels_claimed.discard(label)


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

    async def prepare_ahead(self, replica: Replica, entry: Turn) -> None:
        """Load what an entry will want, so that nothing waits for it when it is applied.

        Raises `UnloadableVersion`, `UnknownVersion`, `LogUnavailable`.
        """
        source = Source(self._database, replica.registered, self._stop)
        work = partial(ready, source, replica.model, entry)
        prepared = await asyncio.get_running_loop().run_in_executor(self._replayer, work)
        if prepared is not None:
            replica.ahead[entry] = prepared

    async def _prepare(self, replica: Replica, live: LiveModel, wanted: Unprepared) -> None:
        """Make the learner that an entry wants, then go on applying. Its entries are held back."""
        source = Source(self._database, replica.registered, self._stop)
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
        source = Source(self._database, replica.registered, self._stop)
        try:
            done = await self._in_thread(partial(replay, source, broke, replica.safe_point))
        except Exception:
            self._fail(replica)
            return
        if done is None or replica.state == "deleted":
            return
        replica.safe_point = done.safe_point
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
