"""Remembered predictions, until they expire: what a label that comes later is joined with.

They are written behind the answers, in batches, and kept in memory up to a number of bytes:

    remember ──▶ memory, unwritten ──(every predictions_write_ms)──▶ table ──▶ expire
    find ◀── memory, else table

A crash loses the predictions of the last batch: their labels are then answered 404. With the
database gone the unwritten ones gather in memory; when that is full, a prediction is not remembered
and its answer says so.
"""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from itertools import islice

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from app.database import Database
from app.entries import Features, Served
from app.errors import LogUnavailable
from app.settings import Settings
from app.tables import models, predictions

logger = logging.getLogger(__name__)

Key = tuple[int, str]

EXPIRE_CHUNK = 5_000
"""How many expired predictions are deleted in one transaction."""


WRITE_CHUNK = 2_000
"""How many predictions are written in one transaction: feedback waits for no more than that."""


class Remembered(msgspec.Struct, frozen=True, omit_defaults=True):
    """What predict saw, and what it answered. `warnings` are (code, detail)."""

    features: Features
    served: Served
    version: int
    offset: int
    warnings: list[tuple[str, str]] = msgspec.field(default_factory=list)


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
        self._written: OrderedDict[Key, tuple[int, bytes]] = OrderedDict()
        self._unwritten: dict[Key, tuple[int, bytes]] = {}
        self._bytes = 0
        self._filled = asyncio.Event()
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

    def remember(self, model_id: int, id: str, record: Remembered) -> bool:
        """Remember a prediction; False if there is no room, because nothing can be written."""
        body = _encoder.encode(record)
        while self._bytes + len(body) > self._bytes_max and self._written:
            self._bytes -= len(self._written.popitem(last=False)[1][1])
        if self._bytes + len(body) > self._bytes_max:
            return False
        self._bytes += len(body)
        self._unwritten[model_id, id] = (record.served.at, body)
        self._filled.set()
        return True

    def recall(self, model_id: int, id: str) -> Remembered | None:
        """A prediction that this process holds in memory."""
        key = (model_id, id)
        held = self._unwritten.get(key) or self._written.get(key)
        return None if held is None else self._unexpired(*held)

    async def find(self, model_id: int, id: str) -> Remembered | None:
        """A prediction that any process made, if it is not expired. May raise `LogUnavailable`."""
        held = self.recall(model_id, id)
        if held is not None:
            return held
        row = await self._database.read(
            lambda connection: connection.execute(_FIND, {"model": model_id, "id": id}).first()
        )
        # Another request may have predicted under this id meanwhile.
        return self.recall(model_id, id) or (None if row is None else self._unexpired(*row))

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

    def _unexpired(self, at: int, body: bytes) -> Remembered | None:
        return _decoder.decode(body) if at >= self._clock() - self._keep_us else None

    async def _write_forever(self) -> None:
        while True:
            if self._unwritten:
                await self._write()
            elif self._writer is None:
                return
            else:
                self._filled.clear()
                await self._filled.wait()
            if self._writer is not None and len(self._unwritten) < WRITE_CHUNK:
                await asyncio.sleep(self._pause_seconds)

    async def _write(self) -> None:
        writing = dict(islice(self._unwritten.items(), WRITE_CHUNK))
        rows = [
            {"model_id": model_id, "id": id, "at": at, "body": body}
            for (model_id, id), (at, body) in writing.items()
        ]
        try:
            before = self._clock() - self._keep_us
            await self._database.write(lambda connection: _insert(connection, rows, before))
        except LogUnavailable:
            if self._writer is None:
                logger.error(
                    "%d predictions were not written before the stop", len(self._unwritten)
                )
                self._unwritten.clear()
            else:
                await asyncio.sleep(10 * self._pause_seconds)
        else:
            for key, held in writing.items():
                if self._unwritten.get(key) is held:
                    del self._unwritten[key]
                replaced = self._written.pop(key, None)
                self._bytes -= 0 if replaced is None else len(replaced[1])
                self._written[key] = held


_FIND = sa.select(predictions.c.at, predictions.c.body).where(
    predictions.c.model_id == sa.bindparam("model"), predictions.c.id == sa.bindparam("id")
)
_INSERT = insert(predictions)
_INSERT = _INSERT.on_conflict_do_update(
    index_elements=[predictions.c.model_id, predictions.c.id],
    set_={"at": _INSERT.excluded.at, "body": _INSERT.excluded.body},
    # One that is expired, and not yet deleted, makes room for the next of its id.
    where=predictions.c.at < sa.bindparam("before"),
)
_COUNT = (
    sa.update(models)
    .where(models.c.id == sa.bindparam("model"))
    .values(predictions=models.c.predictions + sa.bindparam("made"))
)


def _insert(connection: Connection, rows: list[dict[str, object]], before: int) -> None:
    connection.execute(_INSERT, [{**row, "before": before} for row in rows])
    made = Counter(row["model_id"] for row in rows)
    connection.execute(_COUNT, [{"model": model, "made": n} for model, n in made.items()])


def _expire(connection: Connection, before: int) -> int:
    keys = sa.select(predictions.c.model_id, predictions.c.id)
    keys = keys.where(predictions.c.at < before).limit(EXPIRE_CHUNK)
    doomed = sa.tuple_(predictions.c.model_id, predictions.c.id).in_(keys)
    return connection.execute(sa.delete(predictions).where(doomed)).rowcount
