"""What one process holds: opened at the start, closed in reverse.

settings ─▶ database ─▶ registry, log, predictions ─▶ applier (replicas)
                                                          ▲
                                     tail: models and entries of other processes, by hints
                                           at once, and by a slow poll for sure
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from secrets import randbelow
from typing import Any

import msgspec
from uuid_utils import uuid7

from app import entries
from app.applier import Applier
from app.calls import RESERVED
from app.database import Database, now_us
from app.errors import InvalidSpec, LogUnavailable, NotReady, Problem, UnknownModel, WrongHashSeed
from app.hints import ANY, hints_of
from app.labels import check_rules
from app.live import LiveModel
from app.log import Draft, Log, Row
from app.predictions import Predictions
from app.registry import Registry
from app.replica import Replica
from app.settings import Settings
from app.workers import Workers
from learners import spec as specs

logger = logging.getLogger(__name__)

RESTORED_SECONDS = 0.02
"""How often it is looked whether the models serve."""

NEW_SECONDS = 0.5
"""How long a request waits for a model that is being restored here."""


class Runtime:
    """One process's models, ready to serve. `clock` gives microseconds since 1970.

    Raises a `StartRefused` if the database, or this process, cannot keep what is promised.
    """

    def __init__(self, settings: Settings, clock: Callable[[], int] = now_us) -> None:
        self.settings = settings
        self.clock = clock
        self.database = Database(settings)
        try:
            check_hash_seed(self.database.hash_seed)
        except BaseException:
            self.database.close()
            raise
        self.registry = Registry(self.database, settings.models_max)
        self.log = Log(self.database, settings)
        self.predictions = Predictions(self.database, settings, clock)
        self.applier = Applier(self.database, self._record_unlearnable)
        self.workers = Workers(self.database, clock)
        self.hints = hints_of(self.database.backend)
        self._by_name: dict[str, Replica] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._hinted: set[int] = set()
        self._heard = asyncio.Event()
        self._tailed = False
        self.reproducing = asyncio.Semaphore(1)
        self._rehearsing = asyncio.Semaphore(1)
        self._creating = asyncio.Lock()
        self._following = asyncio.Lock()
        self._looked = float("-inf")

    async def open(self) -> None:
        """Start serving: models become ready one by one, in the order of their creation."""
        self.log.open(self._deliver)
        self.predictions.open()
        self.hints.open(self._hear)
        for work in (self._tail_forever(), self._heed_hints()):
            self._tasks.append(asyncio.create_task(work))

    async def join(self, seconds_max: float) -> None:
        """Wait until all models are restored, but no longer than that: others serve meanwhile."""
        deadline = time.monotonic() + seconds_max
        while not self.is_restored() and time.monotonic() < deadline:
            await asyncio.sleep(RESTORED_SECONDS)

    async def close(self) -> None:
        """Make durable what was taken in, then let go of everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(LogUnavailable):
            await self.workers.leave()
        await self.log.close()
        await self.predictions.close()
        await self.applier.close()
        self.hints.close()
        self.database.close()

    def replica(self, name: str) -> Replica:
        """The replica of a model. Raises `UnknownModel`, or `NotReady` before all are known."""
        replica = self._by_name.get(name)
        if replica is None and not self._tailed:
            raise NotReady("The models are being looked up. GET /readyz says when they serve.")
        if replica is None:
            raise UnknownModel(f"There is no model named {name!r}. GET /v1/models lists them.")
        return replica

    async def find(self, name: str) -> Replica:
        """The replica of a model that another process may have created a moment ago.

        Raises `UnknownModel`, or `NotReady` before all are known; and `LogUnavailable`, where only
        the database knows whether there is one.
        """
        try:
            replica = self.replica(name)
        except UnknownModel:
            await self.follow()
            replica = self.replica(name)
        if replica.state == "restoring":
            # A new one is there in a moment; an old one may take long, and is not waited for.
            deadline = time.monotonic() + NEW_SECONDS
            while replica.state == "restoring" and time.monotonic() < deadline:
                await asyncio.sleep(RESTORED_SECONDS)
        return replica

    def replicas(self) -> list[Replica]:
        """The replicas of all models, by name."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    async def create(self, wanted: entries.Created, metrics: list[Any] | None) -> Replica:
        """Create a model from what was asked for, and let it serve; no `metrics`: the task's.

        Raises `InvalidSpec`, `ModelExists`, `TooManyModels`, `LogUnavailable`.
        """
        async with self._rehearsing:
            created = await asyncio.to_thread(completed, wanted, metrics, randbelow(2**32))
            at = self.clock()
            live = await asyncio.to_thread(LiveModel, created, at, {})
        async with self._creating:
            id = f"{RESERVED}created:{uuid7()}"
            registered = await self.registry.create(created, id, at)
            replica = Replica(registered)
            self.applier.open_model(replica, live)
            self._by_name[created.name] = replica
        self.hints.tell([registered.id])
        logger.info("created model %r", created.name)
        return replica

    async def delete(self, name: str) -> None:
        """Delete a model; what it leaves in the tables is removed beside the requests."""
        await self.registry.delete(name)
        self._forget(name)
        self.hints.tell([ANY])
        self.applier.spawn(self._sweep())

    def is_restored(self) -> bool:
        """Whether no model that exists is still being restored."""
        return self._tailed and all(r.state != "restoring" for r in self.replicas())

    async def _sweep(self) -> None:
        await self.registry.sweep()

    def _forget(self, name: str) -> None:
        replica = self._by_name.pop(name, None)
        if replica is not None:
            self.applier.replicas.pop(replica.id, None)
            replica.state = "deleted"
            replica.answer_waiters(UnknownModel(f"The model {name!r} was deleted meanwhile."))
            logger.info("deleted model %r", name)

    def _deliver(self, rows: Sequence[Row]) -> None:
        """Apply what was committed here, and let the others know."""
        self.applier.deliver(rows)
        self.hints.tell(dict.fromkeys(row.model_id for row in rows))

    def look(self, replica: Replica) -> None:
        """Read a model's log soon: somebody knows of an entry that was not applied here."""
        self._hear(replica.id)

    def _hear(self, model_id: int) -> None:
        self._hinted.add(model_id)
        self._heard.set()

    async def _heed_hints(self) -> None:
        """Read at once what others say that they committed."""
        while True:
            await self._heard.wait()
            self._heard.clear()
            hinted, self._hinted = self._hinted, set()
            try:
                known = [self.applier.replicas.get(model_id) for model_id in hinted]
                if None in known:
                    await self.follow()
                for replica in known:
                    if replica is not None:
                        await self.applier.catch_up(replica)
            except LogUnavailable:
                pass
            except Exception:
                logger.exception("heeding a hint failed, which is a bug")

    async def _tail_forever(self) -> None:
        """Follow what other processes did; and try again to write, while nothing can be."""
        while True:
            try:
                await self.follow()
                await self.workers.beat(self.replicas())
                for replica in await self.workers.outvoted(self.replicas()):
                    self.applier.restore_anew(replica)
                if not self.database.is_writable:
                    await self.database.probe()
            except LogUnavailable:
                # What cannot be read is not written either: answers say so from here on.
                self.database.is_writable = False
            except Exception:
                logger.exception("following the log failed, which is a bug")
            await asyncio.sleep(self.settings.tail_poll_seconds)

    async def follow(self) -> None:
        """Look once at what other processes did: models, and entries."""
        asked = time.monotonic()
        # Two at once would restore the same model twice; one look does for all who wait for it.
        async with self._following:
            if self._looked < asked:
                looked = time.monotonic()
                await self._follow()
                self._looked = looked

    async def _follow(self) -> None:
        async with self._creating:
            heads = await self.log.heads()
            for name, replica in list(self._by_name.items()):
                if replica.id not in heads:
                    self._forget(name)
            known = {replica.id for replica in self._by_name.values()}
            fresh = await self.registry.list(but=known) if heads.keys() - known else []
            self._by_name.update((registered.name, Replica(registered)) for registered in fresh)
        self._tailed = True
        for replica in list(self._by_name.values()):
            # Not only the fresh ones: a failure of the database may have left some for this turn.
            if replica.state == "restoring":
                await self.applier.restore(replica)
        for replica in list(self._by_name.values()):
            if replica.is_behind(heads.get(replica.id, 0)):
                await self.applier.catch_up(replica)

    async def _record_unlearnable(self, model_id: int, offset: int, reason: str) -> None:
        """Note in the log what broke a learner, so that a replay passes it over at once."""
        body = entries.encode(entries.Unlearnable(offset, reason[:1_000]))
        id = f"{RESERVED}unlearnable:{offset}"
        await self.log.append(Draft(model_id, "unlearnable", id, None, self.clock(), body))


def check_hash_seed(wanted: int) -> None:
    """Raises `WrongHashSeed` if this process hashes strings otherwise than its installation."""
    if os.environ.get("PYTHONHASHSEED") != str(wanted):
        raise WrongHashSeed(
            "Some learners depend on how Python hashes strings, so every process of an "
            "installation uses one seed. Start with `headrace serve`, or with "
            f"PYTHONHASHSEED={wanted}."
        )


def completed(wanted: entries.Created, metrics: list[Any] | None, seed: int) -> entries.Created:
    """What was asked for with its specs in their full stored form.

    Raises `InvalidSpec`, or `InvalidLabel` if the default label is none.
    """
    labels = check_rules(wanted.task, wanted.labels)
    try:
        learner = specs.complete(wanted.learner, wanted.task, seed)
        built = specs.build(learner)
        scores = specs.complete_metrics(metrics, wanted.task, built)
    except specs.InvalidSpec as error:
        raise InvalidSpec(str(error), [Problem(error.place, error.reason)]) from None
    return msgspec.structs.replace(wanted, learner=learner, metrics=scores, labels=labels)
