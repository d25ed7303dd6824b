"""Remembered predictions, until they expire: what a label that comes later is joined with.

They are written behind the answers, in batches, and kept in memory up to a number of bytes:

    remember ──▶ memory, unwritten ──(every predictions_write_ms)──▶ table ──▶ settle ──▶ expire
    find ◀── memory, else table
    early ◀── remember, here or, a little later, in another process

Each is due at an instant: its label is late from then on. Once due it is settled (by
`app/joining.py`: its default label learned, or its lack of one counted), and it is kept for
`predictions_keep_seconds` more, so that a late label finds it.

A crash loses the predictions of the last batch: their labels are then answered 404. With the
database gone the unwritten ones gather in memory; when that is full, a prediction is not remembered
and its answer says so.
"""

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from app.database import Database
from app.early import Early, Key
from app.entries import Features, Served
from app.errors import LogUnavailable
from app.settings import Settings
from app.tables import label_counts, models, predictions

logger = logging.getLogger(__name__)

EXPIRE_CHUNK = 5_000
"""How many expired predictions are deleted in one transaction."""


WRITE_CHUNK = 2_000
"""How many predictions are written in one transaction: feedback waits for no more than that."""

HELD_BYTES = 500
"""What a prediction in memory takes besides its body, about: its key, its id, its instants."""

CLOSE_TRIES = 3
"""How often unwritten predictions are tried to be written at a stop."""

SETTLE_CHUNK = 500
"""How many due predictions are settled at once."""

FOREIGN_SECONDS = 0.3
"""How long another process may take to write a prediction: thrice the longest pause, about."""

FOREIGN_POLL_SECONDS = 0.01

FIND_CHUNK = 500
"""How many predictions are looked up in one query."""


class Remembered(msgspec.Struct, frozen=True, omit_defaults=True):
    """What predict saw, and what it answered. `warnings` are (code, detail)."""

    features: Features
    served: Served
    version: int
    offset: int
    warnings: list[tuple[str, str]] = msgspec.field(default_factory=list)


class Due(NamedTuple):
    """A prediction whose label is late from now on."""

    model_id: int
    id: str
    record: Remembered


class _Held(NamedTuple):
    """A prediction in memory. Instants are in microseconds."""

    at: int
    due_at: int
    body: bytes

    @property
    def size(self) -> int:
        """What it takes of memory, in bytes."""
        return len(self.body) + HELD_BYTES


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Remembered)


class Predictions:
    """The memory of one process over the table of all. Keys are (model id, prediction id)."""

    def __init__(self, database: Database, settings: Settings, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock
        self._keep_us = settings.predictions_keep_seconds * 1_000_000
        self._bytes_max = settings.predictions_memory_bytes_max
        self._pause_seconds = settings.predictions_write_ms / 1_000
        self._written: OrderedDict[Key, _Held] = OrderedDict()
        self._unwritten: dict[Key, _Held] = {}
        self._dangling: Counter[int] = Counter()
        self._bytes = 0
        self.early = Early(self.recall, self.find_many, max(1, settings.requests_max // 8))
        self._is_in_doubt = False
        self._closing_tries = CLOSE_TRIES
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Start writing behind."""
        self._writer = asyncio.create_task(self._write_forever(), name="predictions")

    async def close(self) -> None:
        """Write what is unwritten, then stop."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            self._filled.set()
            await writer

    def remember(self, model_id: int, id: str, record: Remembered, due_at: int) -> bool:
        """Remember a prediction; False if there is no room, because nothing can be written."""
        body = _encoder.encode(record)
        held = _Held(record.served.at, due_at, body)
        while self._bytes + held.size > self._bytes_max and self._written:
            self._bytes -= self._written.popitem(last=False)[1].size
        if self._bytes + held.size > self._bytes_max:
            return False
        self._bytes += held.size
        key = (model_id, id)
        self._unwritten[key] = held
        self._filled.set()
        self.early.tell(key)
        return True

    def recall(self, model_id: int, id: str) -> Remembered | None:
        """A prediction that this process holds in memory."""
        key = (model_id, id)
        held = self._unwritten.get(key) or self._written.get(key)
        return None if held is None else self._unexpired(held.due_at, held.body)

    async def find(self, model_id: int, id: str) -> Remembered | None:
        """A prediction that any process made, if it is not expired. May raise `LogUnavailable`.

        What another process answered a moment ago is waited for until it is written.
        """
        # Nothing is remembered under another id, and no database can be asked for all of them.
        if not id.isprintable():
            return None
        deadline = time.monotonic() + FOREIGN_SECONDS
        while (found := (await self.find_many(model_id, [id])).get(id)) is None:
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(FOREIGN_POLL_SECONDS)
        return found

    async def find_many(self, model_id: int, ids: Iterable[str]) -> dict[str, Remembered]:
        """Those of these predictions that any process made. May raise `LogUnavailable`."""
        found = {id: self.recall(model_id, id) for id in ids}
        missing = [id for id, record in found.items() if record is None]
        for begin in range(0, len(missing), FIND_CHUNK):
            chunk = missing[begin : begin + FIND_CHUNK]
            query = _FIND.where(predictions.c.model_id == model_id, predictions.c.id.in_(chunk))
            rows = await self._database.read(lambda c, q=query: c.execute(q).all())  # type: ignore[misc]
            found.update((id, self._unexpired(due_at, body)) for id, due_at, body in rows)
            # Another request may have predicted under one of these ids meanwhile.
            found.update((id, self.recall(model_id, id) or found[id]) for id in chunk)
        return {id: record for id, record in found.items() if record is not None}

    async def has_room(self) -> None:
        """Wait while more are unwritten than a few transactions take, if they can be written."""
        while len(self._unwritten) > 4 * WRITE_CHUNK and self._database.is_writable:
            self._drained.clear()
            await self._drained.wait()

    def count_dangling(self, model_id: int) -> None:
        """Count a label of no known prediction."""
        self._dangling[model_id] += 1
        self._filled.set()

    async def due(self, but: Iterable[int]) -> list[Due]:
        """Predictions that are due and not settled, oldest first, of all models but these."""
        query = _DUE.where(predictions.c.model_id.not_in(sorted(but)))
        now = self._clock()
        rows = await self._database.read(lambda c: c.execute(query, {"now": now}).all())
        return [Due(model_id, id, _decoder.decode(body)) for model_id, id, body in rows]

    async def settle(self, keys: Iterable[Key], unlabelled: Iterable[Key]) -> None:
        """Note that these are settled; those that stay `unlabelled` are counted, each once."""
        given, counted = list(keys), list(unlabelled)
        await self._database.write(lambda connection: _settle(connection, given, counted))

    async def label_counts(self, model_id: int) -> tuple[int, int]:
        """How many labels never came, and how many came for no known prediction."""
        query = sa.select(label_counts.c.expired, label_counts.c.dangling)
        query = query.where(label_counts.c.model_id == model_id)
        row = await self._database.read(lambda connection: connection.execute(query).first())
        expired, dangling = row or (0, 0)
        return expired, dangling + self._dangling[model_id]

    async def count(self, model_id: int) -> int:
        """How many predictions were made for this model, expired ones too."""
        query = sa.select(models.c.predictions).where(models.c.id == model_id)
        count = await self._database.read(lambda connection: connection.execute(query).scalar())
        return (count or 0) + sum(key[0] == model_id for key in self._unwritten)

    async def expire(self) -> int:
        """Delete what is expired, a chunk at a time; how many were deleted."""
        before, total = self._clock() - self._keep_us, 0
        while True:
            deleted = await self._database.write(lambda connection: _expire(connection, before))
            total += deleted
            if deleted < EXPIRE_CHUNK:
                return total

    def _unexpired(self, due_at: int, body: bytes) -> Remembered | None:
        return _decoder.decode(body) if due_at >= self._clock() - self._keep_us else None

    async def _write_forever(self) -> None:
        while True:
            if self._unwritten or self._dangling:
                await self._write()
                self._drained.set()
            elif self._writer is None:
                return
            else:
                self._filled.clear()
                await self._filled.wait()
            if self._writer is not None and len(self._unwritten) < WRITE_CHUNK:
                await asyncio.sleep(self._pause_seconds)

    async def _write(self) -> None:
        writing = dict(islice(self._unwritten.items(), WRITE_CHUNK))
        # In one order everywhere: two processes that lock the same rows do not wait for each other.
        rows = [
            {"model_id": model_id, "id": id, "settled": False, **held._asdict()}
            for (model_id, id), held in sorted(writing.items())
        ]
        dangling, in_doubt = Counter(self._dangling), self._is_in_doubt
        try:
            before = self._clock() - self._keep_us
            await self._database.write(
                lambda connection: _insert(connection, rows, before, dangling, in_doubt),
                alone=False,
            )
        except LogUnavailable:
            # It may have been durable all the same: these are not to be counted twice.
            self._is_in_doubt = True
            if self._writer is None:
                self._closing_tries -= 1
            if not self._closing_tries:
                logger.error(
                    "%d predictions were not written before the stop", len(self._unwritten)
                )
                self._unwritten.clear()
                self._dangling.clear()
            else:
                await asyncio.sleep(10 * self._pause_seconds)
        else:
            self._is_in_doubt = False
            self._dangling = self._dangling - dangling
            for key, held in writing.items():
                if self._unwritten.get(key) is held:
                    del self._unwritten[key]
                replaced = self._written.pop(key, None)
                self._bytes -= 0 if replaced is None else replaced.size
                self._written[key] = held


_FIND = sa.select(predictions.c.id, predictions.c.due_at, predictions.c.body)
# PostgreSQL's form of it, which SQLite understands too.
_INSERT = insert(predictions)
_INSERT = _INSERT.on_conflict_do_update(
    index_elements=[predictions.c.model_id, predictions.c.id],
    set_={name: _INSERT.excluded[name] for name in ("at", "due_at", "settled", "body")},
    # One that is expired, and not yet deleted, makes room for the next of its id.
    where=predictions.c.due_at < sa.bindparam("before"),
)
_COUNT = (
    sa.update(models)
    .where(models.c.id == sa.bindparam("model"))
    .values(predictions=models.c.predictions + sa.bindparam("made"))
)
_COUNT_LABELS = insert(label_counts)
_COUNT_LABELS = _COUNT_LABELS.on_conflict_do_update(
    index_elements=[label_counts.c.model_id],
    set_={
        name: label_counts.c[name] + _COUNT_LABELS.excluded[name]
        for name in ("expired", "dangling")
    },
)
_DUE = (
    sa.select(predictions.c.model_id, predictions.c.id, predictions.c.body)
    .where(predictions.c.settled == sa.false(), predictions.c.due_at <= sa.bindparam("now"))
    .order_by(predictions.c.due_at)
    .limit(SETTLE_CHUNK)
)


def _insert(
    connection: Connection,
    rows: list[dict[str, object]],
    before: int,
    dangling: Mapping[int, int],
    in_doubt: bool,
) -> None:
    if rows:
        there = _there(connection, rows) if in_doubt else set()
        connection.execute(_INSERT, [{**row, "before": before} for row in rows])
        made = Counter(r["model_id"] for r in rows if (r["model_id"], r["id"]) not in there)
        if made:
            counts = [{"model": model, "made": n} for model, n in sorted(made.items())]
            connection.execute(_COUNT, counts)
    _count_labels(connection, {}, dangling)


def _there(connection: Connection, rows: list[dict[str, object]]) -> set[tuple[object, object]]:
    """Which of these stand in the table already."""
    columns = (predictions.c.model_id, predictions.c.id)
    found: set[tuple[object, object]] = set()
    for begin in range(0, len(rows), FIND_CHUNK):
        keys = [(row["model_id"], row["id"]) for row in rows[begin : begin + FIND_CHUNK]]
        query = sa.select(*columns).where(sa.tuple_(*columns).in_(keys))
        found.update((model, id) for model, id in connection.execute(query))
    return found


def _count_labels(
    connection: Connection, expired: Mapping[int, int], dangling: Mapping[int, int]
) -> None:
    rows = [
        {"model_id": m, "expired": expired.get(m, 0), "dangling": dangling.get(m, 0)}
        for m in sorted({*expired, *dangling})
    ]
    if rows:
        connection.execute(_COUNT_LABELS, rows)


def _settle(connection: Connection, keys: list[Key], unlabelled: list[Key]) -> None:
    expired: Counter[int] = Counter()
    # These first: among the keys they would be settled, and not counted.
    for counted, some in ((True, unlabelled), (False, keys)):
        for model_id in sorted({key[0] for key in some}):
            query = sa.update(predictions).where(
                predictions.c.model_id == model_id,
                predictions.c.id.in_([id for model, id in some if model == model_id]),
                # By another process they may be settled already, and counted.
                predictions.c.settled == sa.false(),
            )
            done = connection.execute(query.values(settled=sa.true())).rowcount
            expired[model_id] += done if counted else 0
    _count_labels(connection, +expired, {})


def _expire(connection: Connection, before: int) -> int:
    keys = sa.select(predictions.c.model_id, predictions.c.id)
    # Settled first: a default label is learned however long the service was stopped.
    keys = keys.where(predictions.c.settled == sa.true(), predictions.c.due_at < before)
    doomed = sa.tuple_(predictions.c.model_id, predictions.c.id).in_(keys.limit(EXPIRE_CHUNK))
    return connection.execute(sa.delete(predictions).where(doomed)).rowcount
